import pytest
from pydantic import BaseModel, ValidationError

from api.job_config import SearchConfig
from service.errors import Fault, InvalidConfig
from service.gone_settings import GONE
from service.scoring.kinds import KINDS
from service.settings import Settings, TrainingSettings, read_settings, settings_of_process

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


def test_a_wrong_setting_is_reported_without_the_secrets_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_other_kinds_are_passed_over_and_unknown_ones_are_not(kind: str) -> None:
    given = {"kind": kind, "model": "", "max_top_tokens": 7}
    [backend] = read_settings(backends=[given]).backends
    assert (backend.kind, backend.url) == (kind, "http://127.0.0.1:8080")
    with pytest.raises(InvalidConfig) as wrong:
        read_settings(backends=[{**given, "max_top_token": 7}])
    told = "there is no such setting; did you mean max_top_tokens?"
    assert wrong.value.faults == (Fault(told, field="ICM_BACKENDS[0].max_top_token"),)


@pytest.mark.parametrize("kind", ["oracle", None, ["vllm"]])
def test_an_unknown_kind_is_reported_with_the_known_ones(kind: object) -> None:
    with pytest.raises(InvalidConfig) as wrong:
        read_settings(backends=[{"name": "a"}, {"name": "b", "kind": kind, "url": "nowhere"}])
    named = "'tgi', 'embedded', 'vllm', 'sglang', 'llamacpp' or 'deterministic'"
    assert wrong.value.faults == (Fault(f"must be {named}", field="ICM_BACKENDS[1].kind"),)


@pytest.mark.parametrize(
    ("backend", "field", "message"),
    [
        (5, "", "must be an object"),
        ({}, "", 'is empty; give it a kind and a url, such as {"kind": "vllm", "url": "http://gpu:8000"}'),
        ({"url": "gpu:8000"}, ".url", "must begin with http:// or https:// and a host, such as http://gpu:8000"),
        ({"url": "http://x:99999"}, ".url", "has the port '99999'; a port is a number from 1 to 65535"),
        (
            {"url": "http://a", "replicas": ["http://a:b"]},
            ".replicas",
            "has the port 'b'; a port is a number from 1 to 65535",
        ),
        (
            {"url": "http://me:hunter2/x@gpu:8000"},
            ".url",
            "has something else in the place of the port; a port is a number from 1 to 65535",
        ),
        (
            {"kind": "vllm", "adapter": "trained"},
            "",
            "`adapter` is for kind 'embedded'; with kind 'vllm' set `model` to the adapter's name at the server",
        ),
        (
            {"adapter": "trained"},
            "",
            "`adapter` is for kind 'embedded'; with kind 'tgi' merge the adapter into its base, and serve the result",
        ),
        ({"kind": "vllm", "concurrency": "many"}, ".concurrency", "must be a whole number"),
        ({"kind": "sglang", "api_key": "\u00e9"}, ".api_key", "has characters that an HTTP header cannot hold"),
    ],
)
def test_a_fault_of_a_backend_is_reported_by_number_and_setting_whatever_its_kind(
    backend: object, field: str, message: str
) -> None:
    with pytest.raises(InvalidConfig) as wrong:
        read_settings(backends=[backend])
    assert wrong.value.faults == (Fault(message, field=f"ICM_BACKENDS[0]{field}"),)


@pytest.mark.parametrize("port", ["99999", "0", "x", "-1", "65536", "\u0661"])
def test_a_port_out_of_range_is_reported_with_its_variable_and_without_a_password(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICM_DATABASE_URL", f"postgresql://icm:hunter2/:3@db:{port}/icm")
    monkeypatch.setenv("ICM_TELEMETRY__OTLP_ENDPOINT", f"http://[::1]:{port}")
    with pytest.raises(InvalidConfig) as wrong:
        read_settings()
    told = f"has the port {port!r}; a port is a number from 1 to 65535"
    assert {fault.field: fault.message for fault in wrong.value.faults} == {
        "ICM_DATABASE_URL": told,
        "ICM_TELEMETRY__OTLP_ENDPOINT": told,
    }


@pytest.mark.parametrize("url", ["postgresql://a:p/w:9@h/db", "postgresql:///db?host=/run:x", "postgresql://h:5432/d"])
def test_addresses_of_databases_are_taken_with_any_password(url: str) -> None:
    assert read_settings(database_url=url).database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ICM_TRAININGS__BASES", "ICM_TRAINING__BASES"),
        ("ICM_TRAINING_BASES", "ICM_TRAINING__BASES"),
        ("ICM_TRAINING__BASE", "ICM_TRAINING__BASES"),
        ("icm_queues__lease_seconds", "ICM_QUEUE__LEASE_SECONDS"),
        ("ICM_QUOTA_ROWS", "ICM_QUOTA__ROWS"),
    ],
)
def test_a_misspelt_variable_is_reported_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "{}")
    with pytest.raises(InvalidConfig) as wrong:
        read_settings()
    assert wrong.value.faults == (Fault(f"there is no such setting; did you mean {meant}?", field=name.upper()),)


def test_the_page_about_settings_names_every_one_and_every_parameter(request: pytest.FixtureRequest) -> None:
    page = (request.config.rootpath / "docs" / "configuration.md").read_text("utf-8")
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    settings = {
        f"{name}__{inner}" if inner else name
        for name, kind in groups.items()
        for inner in (kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else [""])
    }
    assert len(settings) > 50
    assert [name for name in sorted(settings) if f"`{name.upper()}`" not in page] == []
    assert [name for name in SearchConfig.model_fields if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", GONE)
def test_a_setting_that_is_gone_is_passed_over_and_the_process_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "7")
    assert settings_of_process() == Settings()
    assert capsys.readouterr().err == f"{name} has no effect any more: it is {GONE[name]} now; take the variable out\n"


@pytest.mark.parametrize(
    "name", ["ICM_URL", "ICM_API_KEY", "ICM_SERVICE_HOST", "ICM_PORT_8000_TCP", "ICM_WEBHOOK_SECRET"]
)
def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    without = read_settings()
    monkeypatch.setenv(name, "tcp://10.0.0.1:8000")
    assert read_settings() == without


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ICM_TRAINING__BASES", "a-model", "is not valid JSON"),
        ("ICM_TRAINING__BASES", '["a-model"]', "must be an object, such as"),
        ("ICM_TRAINING__BASES", '{"default": " "}', "must give 'default' the folder of a language model"),
        ("ICM_TRAINING__BASES", '{"": "a-model"}', "must give '' the folder"),
        ("ICM_TRAINING__ARTIFACTS", "ftp://files", "must be a folder, or a URL"),
        ("ICM_TRAINING__ARTIFACTS", "s3://", "must be a folder, or a URL"),
        ("ICM_TRAINING__ARTIFACTS", "gs:/bucket", "must be a folder, or a URL"),
        ("ICM_TRAINING__ARTIFACTS", __file__, "is a file"),
        ("ICM_DATA_DIR", __file__, "is a file"),
    ],
)
def test_unusable_settings_of_trainings_are_reported_by_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("ICM_TRAINING__THREADS", "2")
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfig) as wrong:
        read_settings()
    [fault] = wrong.value.faults
    assert (fault.field, told in fault.message) == (name, True), fault


@pytest.mark.parametrize("place", ["", "files", "s3://bucket", "gs://bucket/folder", "file:///files", "C:\\files"])
def test_folders_and_object_stores_are_places_for_artifacts(place: str) -> None:
    assert Settings(training=TrainingSettings(artifacts=place)).training.artifacts == place
