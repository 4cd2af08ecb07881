import pytest
from pydantic import ValidationError

from service.errors import Fault, InvalidConfig
from service.settings import Settings, read_settings, settings_of_process

ENVIRONMENT = {
    "ICM_DATABASE_URL": "postgresql://icm:hunter2@db/icm",
    "ICM_BACKENDS": '[{"name": "default", "api_key": "hunter2"}]',
}


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    for shown in (str(settings), repr(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "hunter2" not in shown
    assert settings.database_url.get_secret_value() == ENVIRONMENT["ICM_DATABASE_URL"]


def test_a_setting_that_is_wrong_is_told_without_the_secrets_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_BACKENDS", '[{"name": "default", "kind": "oracle", "api_key": "hunter2"}]')
    with pytest.raises(ValidationError) as wrong:
        Settings()
    assert "oracle" in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


def test_a_process_with_wrong_settings_ends_with_each_of_them_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_QUEUE__LEASE_SECONDS", "soon")
    monkeypatch.setenv("ICM_BACKENDS", '[{"kind": "oracle"}]')
    with pytest.raises(SystemExit) as ended:
        settings_of_process()
    first, *others = str(ended.value.code).splitlines()
    assert first == "the settings cannot be used"
    assert "  ICM_QUEUE__LEASE_SECONDS: must be a number" in others
    assert any(line.startswith("  ICM_BACKENDS[0].kind: must be 'tgi'") for line in others)


def test_a_setting_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_BACKENDS", "[{")
    with pytest.raises(InvalidConfig) as wrong:
        read_settings()
    assert wrong.value.faults == (Fault("is not valid JSON", field="ICM_BACKENDS"),)
