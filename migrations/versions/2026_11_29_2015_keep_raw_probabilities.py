"""Add a column for the probability of each label before calibration."""

import sqlalchemy as sa
from alembic import op

revision = "b93d5e0c7a24"
down_revision = "e7a4c2d81f36"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("label_states", sa.Column("raw_probability", sa.Double(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("label_states", "raw_probability")
