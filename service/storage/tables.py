"""Defines the database's tables for SQLAlchemy Core; the migrations create them.

Plain Postgres 15 to 18 without extensions. Python makes the ids, and the database's clock gives the times. JSON columns
are `json`, not `jsonb`: no query reads inside them, and `json` keeps the users' text unchanged. Rows are bytes for the
same reason.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.records.jobs import JobStatus
from service.records.labels import LabelStatus
from service.records.webhooks import DeliveryStatus
from service.records.work import JOB_KINDS, WorkStatus

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


projects = Table(
    "projects",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("quotas", JSON(none_as_null=True)),  # the project's own, by name
)

# Computed tokens by day (UTC). They stay when jobs are deleted, or a project could escape its quota by deleting jobs.
project_tokens = Table(
    "project_tokens",
    metadata,
    Column("project", ForeignKey(projects.c.name), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)

# The table holds no secret, only its SHA-256 and the public id that finds it.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("project", ForeignKey(projects.c.name), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

# Without foreign keys: entries outlive the keys, jobs and projects that they name.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp(), index=True),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("key_id", Text),
    Column("request_id", Text),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", ForeignKey(projects.c.name), nullable=False, index=True),
    Column("columns", JSON, nullable=False),
    Column("gold_field", Text),
    Column("rows", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),  # of all rows, gold included
    Column("sha256", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("arrow_schema", LargeBinary),  # of a Parquet file: an Arrow stream without rows
)

dataset_rows = Table(
    "dataset_rows",
    metadata,
    Column("dataset_id", ForeignKey(datasets.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("shard", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("ix_dataset_rows_shard", "dataset_id", "shard", "position"),
)

# A separate table, so that no worker's query of rows can read gold by accident.
gold_labels = Table(
    "gold_labels",
    metadata,
    Column("dataset_id", ForeignKey(datasets.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("value", LargeBinary, nullable=False),
)

# Identities of scoring backends. They are never deleted, since remembered answers refer to them.
backend_identities = Table(
    "backend_identities",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("fingerprint", Text, nullable=False, index=True),
    Column("canary", JSON, nullable=False),  # log-probabilities, nats
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", ForeignKey(projects.c.name), nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'label'")),
    Column("name", Text, nullable=False, server_default=text("''")),  # the user's
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("error", JSON(none_as_null=True)),
    Column("last_event", Integer, nullable=False, server_default=text("0")),
    Column("pause_reason", Text),  # while the job is paused
    Column("paused_at", DateTime(timezone=True)),
    Column("retry_at", DateTime(timezone=True)),  # before that, no item of a paused job is claimed
    Column("tries", Integer, nullable=False, server_default=text("0")),  # failed ones, since the last save of an item
    Column("paused_seconds", Double, nullable=False, server_default=text("0")),  # of pauses that have ended
    Column("warnings", JSON(none_as_null=True)),  # texts; unknown of older jobs
    Column("request_id", Text),  # of the request that created it; unknown of older jobs
    Column("traceparent", Text),  # its span, as W3C Trace Context has it
    Column("log_shortened", Boolean, nullable=False, server_default=false()),  # only lasting events are left
    Column("retired_at", DateTime(timezone=True)),  # hidden since then; maintenance deletes it in batches
    _one_of("kind", JOB_KINDS),
    _one_of("status", JobStatus),
    Index("ix_jobs_project_created_at", "project", "created_at", "id"),
    Index("ix_jobs_project_status_created_at", "project", "status", "created_at", "id"),
    Index("ix_jobs_finished_at", "finished_at", postgresql_where=text("retired_at IS NULL")),
    Index("ix_jobs_unshortened", "finished_at", postgresql_where=text("NOT log_shortened")),
    Index("ix_jobs_retired_at", "retired_at", postgresql_where=text("retired_at IS NOT NULL")),
)

# The lease queue for work of any kind. A worker holds an item while `epoch` is unchanged; each claim raises it by one.
work_items = Table(
    "work_items",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("queued_at", DateTime(timezone=True), nullable=False),  # the job's creation: first come, first served
    Column("run_after", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("worker_id", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("crashes", Integer, nullable=False, server_default=text("0")),  # since the last save that advanced
    _one_of("kind", JOB_KINDS),
    _one_of("status", WorkStatus),
    Index("ix_work_items_queued", "kind", "queued_at", "job_id", "number", postgresql_where=text("status = 'queued'")),
    Index("ix_work_items_leased", "kind", "lease_until", postgresql_where=text("status = 'running'")),
)

# A separate table, so that renewing a lease never copies a checkpoint.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("saved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    ForeignKeyConstraint(["job_id", "number"], [work_items.c.job_id, work_items.c.number], ondelete="CASCADE"),
)

# The labelling data of jobs of kind `label`.
labellings = Table(
    "labellings",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("dataset_id", ForeignKey(datasets.c.id), nullable=False, index=True),
    Column("config", JSON, nullable=False),
    Column("backend_id", ForeignKey(backend_identities.c.id)),  # null in older jobs until a worker begins
)

# The labelling data of work items of kind `label`: progress and costs.
shards = Table(
    "shards",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("labeled", Integer, nullable=False, server_default=text("0")),
    Column("iterations", Integer, nullable=False, server_default=text("0")),
    Column("accepted", Integer, nullable=False, server_default=text("0")),
    Column("utility", Double),
    Column("inconsistencies", Integer, nullable=False, server_default=text("0")),
    Column("prompts", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens_sent", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens_computed", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens_modelled", Boolean, nullable=False, server_default=false()),
    Column("remembered", BigInteger, nullable=False, server_default=text("0")),  # prompts answered from memory
    # The summary of a finished shard's search; null if an earlier release finished it. Before that, what the search
    # still asks or, if it trains, how fast its trainings go.
    Column("summary", JSON(none_as_null=True)),
    Column("server_crashes", JSON(none_as_null=True)),  # by prompt, while the server is suspected to die over one
    ForeignKeyConstraint(["job_id", "shard"], [work_items.c.job_id, work_items.c.number], ondelete="CASCADE"),
)

# The data of jobs of kind `train`. Hashes name artifacts, which the artifact store keeps (docs/decisions/0034).
trainings = Table(
    "trainings",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("base", Text, nullable=False),  # the operator's name of the language model to start from
    Column("spec", JSON, nullable=False),  # for the command, without base and examples
    Column("rows", Integer, nullable=False),
    Column("progress", JSON(none_as_null=True)),
    Column("examples_sha256", Text, nullable=False),
    Column("examples_bytes", BigInteger, nullable=False),
    Column("checkpoint_sha256", Text),
    Column("checkpoint_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("artifact_sha256", Text),
    Column("artifact_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("manifest", JSON(none_as_null=True)),
    Column("report", JSON(none_as_null=True)),
)

# Which finished trainings another one needs until it has ended: a policy's reward model and judge. While it has not,
# nobody removes them (`unneeded` of trainings.py).
training_models = Table(
    "training_models",
    metadata,
    Column("job_id", ForeignKey(trainings.c.job_id, ondelete="CASCADE"), primary_key=True),
    Column("field", Text, primary_key=True),  # of the specification's `policy`
    Column("model_id", ForeignKey(trainings.c.job_id, ondelete="CASCADE"), nullable=False),
    Index("ix_training_models_model_id", "model_id"),
)

# Few columns on purpose: a step of the search rewrites only the rows it changed.
label_states = Table(
    "label_states",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("label", SmallInteger),
    Column("confidence", Double),
    Column("margin", Double),
    Column("status", Text, nullable=False),
    Column("raw_probability", Double),  # before calibration; unknown of older jobs
    Column("reason", Text),  # why the backend cannot score the row
    _one_of("status", LabelStatus),
    Index("ix_label_states_confidence", "job_id", text("coalesce(confidence, 0::double precision)"), "position"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("data", JSON, nullable=False),
)

# Without a foreign key to jobs: a request stores its key before its job.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project", ForeignKey(projects.c.name), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("job_id", Text, nullable=False, index=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
)

# One row for each prompt, in the millions: no foreign key, and a key of 16 bytes (search/recall.py).
remembered_answers = Table(
    "remembered_answers",
    metadata,
    Column("backend_id", Integer, primary_key=True, autoincrement=False),
    Column("prompt", LargeBinary, primary_key=True),
    Column("log_probabilities", LargeBinary, nullable=False),  # float64, little-endian, in the order of the labels
    Column("number", BigInteger, Identity(always=True), nullable=False, index=True),  # the oldest are evicted first
)

# Secrets are stored in plain text, since signing needs them. A reader of this table can sign messages in our name.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", ForeignKey(projects.c.name), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("secret", Text, nullable=False),
    Column("former_secret", Text),
    Column("former_secret_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("failing_since", DateTime(timezone=True)),
)

# The outbox and its log. A row is written in the transaction of the job's change that it reports.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", ForeignKey(webhooks.c.id, ondelete="CASCADE"), nullable=False),
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), index=True),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp(), index=True),
    Column("tries", Integer, nullable=False, server_default=text("0")),  # since its creation or the last resend
    Column("next_try_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("epoch", Integer, nullable=False, server_default=text("0")),  # raised by each claim
    Column("lease_until", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    _one_of("status", DeliveryStatus),
    Index("ix_webhook_deliveries_log", "webhook_id", "created_at", "id"),
    Index("ix_webhook_deliveries_due", "next_try_at", "webhook_id", postgresql_where=text("status = 'pending'")),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", ForeignKey(webhook_deliveries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # of the claim, so each is recorded once
    Column("at", DateTime(timezone=True), nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status", Integer),
    Column("error", Text),
)
