"""Add a column for a shard's crashes of the inference server by prompt, so that counting continues after a pause."""

import sqlalchemy as sa
from alembic import op

revision = "5d0e9b47f2a8"
down_revision = "c3f07d918e52"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("shards", sa.Column("server_crashes", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("shards", "server_crashes")
