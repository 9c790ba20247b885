"""`secrets`: keys for the secrets of sessions, and their change, also while servers run."""

import typer

from app.cli.common import show_help
from app.cli.startup import existing_store, exit_on_store_error, fail, load_settings

secrets = typer.Typer(help="Manage the encryption of the secrets of sessions.", rich_markup_mode=None)
secrets.callback(invoke_without_command=True)(show_help)


@secrets.command("generate")
def generate() -> None:
    """Print a new key for SECRETS_KEY or SECRETS_KEY_FILE."""
    from app.engine.session_secrets import generate_key

    typer.echo(generate_key())


@secrets.command("reencrypt")
def reencrypt() -> None:
    """Encrypt all secrets with the first key, so that the others are not needed any more.

    All servers and workers must have the first key before.
    """
    from app.engine.session_secrets import SecretsError, SessionSecrets, read_keys
    from app.store.commands.secrets import renew_secrets
    from app.store.open import open_transactions, shown_url

    settings = load_settings()
    store = existing_store(settings)
    last: int | None = 0
    count = 0
    try:
        known = SessionSecrets(settings.secrets_key or read_keys(settings.secrets_key_file, make=False))
        with exit_on_store_error(), open_transactions(store) as transaction:
            while last is not None:
                with transaction() as connection:
                    last, changed = renew_secrets(connection, last, known.renew)
                count += changed
    except SecretsError as error:
        fail(str(error), status=1)
    typer.echo(f"Encrypted the secrets of {count} sessions again in {shown_url(store)}.", err=True)
