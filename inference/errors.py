"""What can go wrong with a request; each wire has its own shape for these."""


class RequestError(Exception):
    """A request that gets no answer."""


class InvalidRequest(RequestError):
    """The request asks for something that this server or its language model cannot do."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModel(RequestError):
    """The request names neither the language model served nor one of its adapters."""


class AdapterNotFound(RequestError):
    """There is no adapter where a request says that there is one, or none of that name."""


class AdapterRefused(RequestError):
    """An adapter that cannot be served as it was trained, or not under this name; the text says why."""


class Overloaded(RequestError):
    """As many requests as the server takes are under way."""


class GenerationFailed(RequestError):
    """The language model failed on the batch that held the request, or the server is stopping."""


class ClientGone(RequestError):
    """The client hung up, so nobody waits for the answer."""
