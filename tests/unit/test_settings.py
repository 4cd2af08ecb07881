import pytest
from pydantic import ValidationError

from service.settings import Settings

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
