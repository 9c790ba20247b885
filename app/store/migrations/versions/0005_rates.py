"""The token buckets of clients, which all servers on a PostgreSQL database share."""

import sqlalchemy as sa
from alembic import op

revision = "0005_since_0001"
down_revision = "0004_since_0001"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, which a crash of the database may empty."""
    op.create_table(
        "rates",
        sa.Column("client", sa.LargeBinary, primary_key=True),
        sa.Column("full_at", INT64, nullable=False),
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
        sqlite_with_rowid=False,
    )
