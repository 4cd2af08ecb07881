"""The command that sends a data set to a running service and does not wait for its labels."""

from icm.client import Client
from icm.commands.options import ApiKey, Config, Data, Json, Url, read_config
from icm.commands.output import on_stderr, on_stdout, write_json, write_line, write_warnings
from icm.requests import DEFAULT_URL


def submit(
    data: Data, config: Config, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Create a job on a running service and print its id."""
    content = read_config(config, name=data.stem)
    with Client(url, api_key=api_key) as client:
        job = client.create_job(data, content)
    if as_json:
        write_json(job.document)
        return
    write_warnings(job.warnings)
    write_line(on_stdout(), job.id)
    write_line(on_stderr(), f"icm watch {job.id} follows it; icm result {job.id} -o FILE downloads the labels")
