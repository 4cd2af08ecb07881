"""Add a column for the column types of a Parquet file, so that the result has the same types."""

import sqlalchemy as sa
from alembic import op

revision = "d2c9a4e6f801"
down_revision = "b83f0c6d1e57"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("datasets", sa.Column("arrow_schema", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("datasets", "arrow_schema")
