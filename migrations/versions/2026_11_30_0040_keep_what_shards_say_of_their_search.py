"""Add a column for the summary of a finished shard's search, so that a report need not read the event log."""

import sqlalchemy as sa
from alembic import op

revision = "f4b81d27c960"
down_revision = "d2c9a4e6f801"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("shards", sa.Column("summary", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("shards", "summary")
