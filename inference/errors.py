"""Errors of requests; each wire has its own form for them."""


class RequestError(Exception):
    """Root of the errors of requests."""


class InvalidRequest(RequestError):
    """This server or its language model cannot do what the request asks for."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModel(RequestError):
    """The request names neither the served language model nor one of its adapters."""


class AdapterNotFound(RequestError):
    """The folder of the request has no adapter, or no adapter has that name."""


class AdapterRefused(RequestError):
    """The server cannot serve an adapter as trained, or not under this name; the text gives the reason."""


class Overloaded(RequestError):
    """The server is running its maximum of requests."""


class GenerationFailed(RequestError):
    """The language model failed on the request's batch, or the server is stopping."""


class ClientGone(RequestError):
    """The client has disconnected, so nobody waits for the answer."""
