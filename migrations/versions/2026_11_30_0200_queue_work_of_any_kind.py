"""Split shards into work items of any kind and separate tables for the data of labelling jobs."""

import sqlalchemy as sa
from alembic import op

revision = "a90c5e7d3b14"
down_revision = "f4b81d27c960"
branch_labels = None
depends_on = None

_STATUS = "status IN ('blocked', 'queued', 'running', 'succeeded', 'failed', 'cancelled')"
_LIFE = ("status", "queued_at", "run_after", "epoch", "worker_id", "lease_until", "crashes")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _name_kinds()
    _move_labelling_out_of_jobs()
    _create_work_items()
    _tie_checkpoints("number", "work_items", "number")
    _narrow_shards()


def downgrade() -> None:
    """Delete jobs of other kinds than labelling, which the release before does not know."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM jobs WHERE kind <> 'label'")
    _widen_shards()
    _tie_checkpoints("shard", "shards", "shard")
    op.drop_table("work_items")
    _move_labelling_into_jobs()
    op.drop_constraint(op.f("ck_jobs_kind"), "jobs", type_="check")
    op.drop_column("jobs", "name")
    op.drop_column("jobs", "kind")


def _name_kinds() -> None:
    op.add_column("jobs", sa.Column("kind", sa.Text(), server_default=sa.text("'label'"), nullable=False))
    op.create_check_constraint(op.f("ck_jobs_kind"), "jobs", "kind IN ('label', 'train')")
    op.add_column("jobs", sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.execute("UPDATE jobs SET name = config ->> 'name' WHERE config ->> 'name' IS NOT NULL")


def _move_labelling_out_of_jobs() -> None:
    op.create_table(
        "labellings",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("backend_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_labellings_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_labellings_dataset_id_datasets")),
        sa.ForeignKeyConstraint(
            ["backend_id"], ["backend_identities.id"], name=op.f("fk_labellings_backend_id_backend_identities")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_labellings")),
    )
    op.create_index(op.f("ix_labellings_dataset_id"), "labellings", ["dataset_id"], unique=False)
    op.execute("INSERT INTO labellings SELECT id, dataset_id, config, backend_id FROM jobs")
    for column in ("dataset_id", "config", "backend_id"):
        op.drop_column("jobs", column)


def _move_labelling_into_jobs() -> None:
    op.add_column("jobs", sa.Column("dataset_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("config", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("backend_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE jobs SET dataset_id = own.dataset_id, config = own.config, backend_id = own.backend_id"
        " FROM labellings own WHERE own.job_id = jobs.id"
    )
    op.alter_column("jobs", "dataset_id", nullable=False)
    op.alter_column("jobs", "config", nullable=False)
    op.create_foreign_key(op.f("fk_jobs_dataset_id_datasets"), "jobs", "datasets", ["dataset_id"], ["id"])
    op.create_foreign_key(
        op.f("fk_jobs_backend_id_backend_identities"), "jobs", "backend_identities", ["backend_id"], ["id"]
    )
    op.create_index(op.f("ix_jobs_dataset_id"), "jobs", ["dataset_id"], unique=False)
    op.drop_table("labellings")


def _life_of_an_item() -> tuple["sa.Column[object]", ...]:
    return (
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )


def _create_work_items() -> None:
    op.create_table(
        "work_items",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        *_life_of_an_item(),
        sa.CheckConstraint("kind IN ('label', 'train')", name=op.f("ck_work_items_kind")),
        sa.CheckConstraint(_STATUS, name=op.f("ck_work_items_status")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_work_items_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_work_items")),
    )
    op.execute(
        "INSERT INTO work_items SELECT job_id, shard, 'label', json_build_object('rows', rows),"
        " status, queued_at, run_after, epoch, worker_id, lease_until, crashes FROM shards"
    )
    op.create_index(
        "ix_work_items_queued",
        "work_items",
        ["kind", "queued_at", "job_id", "number"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_work_items_leased",
        "work_items",
        ["kind", "lease_until"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )


def _tie_checkpoints(column: str, table: str, key: str) -> None:
    """Rename the column, and refer from checkpoints to the table that now has the items' states."""
    former = "shard" if column == "number" else "number"
    other = "shards" if table == "work_items" else "work_items"
    op.drop_constraint(f"fk_checkpoints_job_id_{former}_{other}", "checkpoints", type_="foreignkey")
    op.alter_column("checkpoints", former, new_column_name=column)
    name = f"fk_checkpoints_job_id_{column}_{table}"
    op.create_foreign_key(name, "checkpoints", table, ["job_id", column], ["job_id", key], ondelete="CASCADE")


def _narrow_shards() -> None:
    op.drop_constraint(op.f("fk_shards_job_id_jobs"), "shards", type_="foreignkey")
    for column in _LIFE:  # with them go the indexes and the check
        op.drop_column("shards", column)
    op.create_foreign_key(
        op.f("fk_shards_job_id_shard_work_items"),
        "shards",
        "work_items",
        ["job_id", "shard"],
        ["job_id", "number"],
        ondelete="CASCADE",
    )


def _widen_shards() -> None:
    op.drop_constraint(op.f("fk_shards_job_id_shard_work_items"), "shards", type_="foreignkey")
    known_later, with_defaults = _life_of_an_item()[:2], _life_of_an_item()[2:]
    for column in known_later:
        op.add_column("shards", sa.Column(column.name, column.type, nullable=True))
    for column in with_defaults:
        op.add_column("shards", column)
    op.execute(
        "UPDATE shards SET status = item.status, queued_at = item.queued_at, run_after = item.run_after,"
        " epoch = item.epoch, worker_id = item.worker_id, lease_until = item.lease_until, crashes = item.crashes"
        " FROM work_items item WHERE item.job_id = shards.job_id AND item.number = shards.shard"
    )
    for column in known_later:
        op.alter_column("shards", column.name, nullable=False)
    op.create_check_constraint(op.f("ck_shards_status"), "shards", _STATUS)
    op.create_foreign_key(op.f("fk_shards_job_id_jobs"), "shards", "jobs", ["job_id"], ["id"], ondelete="CASCADE")
    queued, running = sa.text("status = 'queued'"), sa.text("status = 'running'")
    op.create_index("ix_shards_queued", "shards", ["queued_at", "job_id", "shard"], postgresql_where=queued)
    op.create_index("ix_shards_leased", "shards", ["lease_until"], postgresql_where=running)
