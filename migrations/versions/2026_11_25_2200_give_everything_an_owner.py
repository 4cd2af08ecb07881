"""Add projects, API keys and the audit log; existing jobs, data sets and idempotency keys go to project `default`."""

import sqlalchemy as sa
from alembic import op

revision = "8c1f0b7e52aa"
down_revision = "8b2f4c6a9d13"
branch_labels = None
depends_on = None

_OWNED = ("datasets", "jobs", "idempotency_keys")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_projects()
    _create_project_tokens()
    _create_api_keys()
    _create_audit_log()
    for table in _OWNED:
        _give_owner(table)
    _count_bytes()
    _list_by_project()
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys", type_="primary")
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["project", "key"])


def downgrade() -> None:
    """Remove projects: every caller sees all jobs again, and idempotency keys of other projects are deleted."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM idempotency_keys WHERE project <> 'default'")
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys", type_="primary")
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["key"])
    op.drop_index("ix_jobs_project_status_created_at", table_name="jobs")
    op.drop_index("ix_jobs_project_created_at", table_name="jobs")
    op.create_index("ix_jobs_created_at", "jobs", ["created_at", "id"], unique=False)
    op.create_index("ix_jobs_status_created_at", "jobs", ["status", "created_at", "id"], unique=False)
    op.drop_column("datasets", "bytes")
    op.drop_index("ix_datasets_project", table_name="datasets")
    for table in reversed(_OWNED):
        op.drop_constraint(f"fk_{table}_project_projects", table, type_="foreignkey")
        op.drop_column(table, "project")
    for table in ("audit_log", "api_keys", "project_tokens", "projects"):
        op.drop_table(table)


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("quotas", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_projects")),
    )
    op.execute("INSERT INTO projects (name) VALUES ('default')")


def _create_project_tokens() -> None:
    op.create_table(
        "project_tokens",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name=op.f("fk_project_tokens_project_projects")),
        sa.PrimaryKeyConstraint("project", "day", name=op.f("pk_project_tokens")),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name=op.f("fk_api_keys_project_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_project", "api_keys", ["project"], unique=False)


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)


def _give_owner(table: str) -> None:
    """Add the column with a default for existing rows, then drop the default: new rows must name their project."""
    op.add_column(table, sa.Column("project", sa.Text(), server_default=sa.text("'default'"), nullable=False))
    op.create_foreign_key(f"fk_{table}_project_projects", table, "projects", ["project"], ["name"])
    op.alter_column(table, "project", server_default=None)


def _count_bytes() -> None:
    op.add_column("datasets", sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.execute(
        "UPDATE datasets SET bytes = (SELECT coalesce(sum(octet_length(data)), 0) FROM dataset_rows"
        " WHERE dataset_id = datasets.id) + (SELECT coalesce(sum(octet_length(value)), 0) FROM gold_labels"
        " WHERE dataset_id = datasets.id)"
    )


def _list_by_project() -> None:
    op.drop_index("ix_jobs_status_created_at", table_name="jobs")
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    op.create_index("ix_jobs_project_created_at", "jobs", ["project", "created_at", "id"], unique=False)
    op.create_index(
        "ix_jobs_project_status_created_at", "jobs", ["project", "status", "created_at", "id"], unique=False
    )
    op.create_index("ix_datasets_project", "datasets", ["project"], unique=False)
