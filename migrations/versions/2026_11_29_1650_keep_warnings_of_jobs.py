"""Add a column for the warnings of a job."""

import sqlalchemy as sa
from alembic import op

revision = "e7a4c2d81f36"
down_revision = "c41d9a7f3e60"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("warnings", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("jobs", "warnings")
