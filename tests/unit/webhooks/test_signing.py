"""The public library, another reading of the specification, verifies what is signed here."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.webhooks.signing import new_secret, signed_headers

BODY = '{"type":"job.succeeded","data":{"name":"Vögel"}}'.encode()


def test_the_example_of_the_specifications_reference_libraries_is_signed_as_there() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], at)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_receiver_with_the_library_accepts_the_signature() -> None:
    secret = new_secret()
    headers = signed_headers("msg_1", BODY, [secret], datetime.now(UTC))
    assert Webhook(secret).verify(BODY, headers)["data"] == {"name": "Vögel"}


def test_during_a_rotation_either_secret_verifies_and_a_third_does_not() -> None:
    new, former = new_secret(), new_secret()
    headers = signed_headers("msg_1", BODY, [new, former], datetime.now(UTC))
    for secret in (new, former):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "id", "timestamp"])
def test_a_changed_message_is_noticed(changed: str) -> None:
    secret, at = new_secret(), datetime.now(UTC)
    headers = signed_headers("msg_1", BODY, [secret], at)
    body = BODY + b" " if changed == "body" else BODY
    if changed == "id":
        headers["webhook-id"] = "msg_2"
    if changed == "timestamp":
        headers["webhook-timestamp"] = str(int(at.timestamp()) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_an_old_message_is_noticed() -> None:
    secret = new_secret()
    headers = signed_headers("msg_1", BODY, [secret], datetime.now(UTC) - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(BODY, headers)


def test_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
