"""Add a column for the reason why the backend cannot score a row."""

import sqlalchemy as sa
from alembic import op

revision = "b83f0c6d1e57"
down_revision = "b93d5e0c7a24"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("label_states", sa.Column("reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("label_states", "reason")
