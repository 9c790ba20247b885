"""The command `ambient-api` as pip installs it.

The wheel has this file as `ambient_public_api/__init__.py`, beside `app/`, `handlers/` and `openapi/`: so the project
takes one name in site-packages.
"""

import os
import sys
from pathlib import Path

import platformdirs


def main() -> None:
    """Run the program, with its data in the user's data directory unless DATA_DIR names another."""
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["DATA_DIR"] = os.environ.get("DATA_DIR") or platformdirs.user_data_dir("ambient-public-api")
    from app.cli.main import main as program

    program()
