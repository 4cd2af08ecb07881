"""Whether a service of this kind runs where one usually does."""

import httpx

_SECONDS = 0.5  # a service on this machine answers in milliseconds
_PROBLEMS = "urn:icm:problem:"  # what the types of this service's errors begin with, that of a missing key among them


def service_answers(url: str) -> bool:
    """Whether a service like ours answers there. It is sent neither data nor a key, and asked for a job that is not."""
    try:
        answer = httpx.get(f"{url}/v1/jobs/none", timeout=_SECONDS, trust_env=False)
        return str(answer.json()["type"]).startswith(_PROBLEMS)
    except (httpx.HTTPError, KeyError, TypeError, ValueError):
        return False
