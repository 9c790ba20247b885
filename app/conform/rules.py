"""All rules, in the order of a session's life. The docstring of a check is its rule."""

import time
from collections.abc import Callable, Iterator

import requests

from app.conform import log_rules, run_rules, session_rules
from app.conform.contract import Violation
from app.conform.report import Outcome, Result
from app.conform.subject import NotApplicable, Subject

Check = Callable[[Subject], None]
RULES: tuple[Check, ...] = (
    session_rules.identity,
    session_rules.authentication,
    session_rules.unknown_fields,
    session_rules.all_faults,
    session_rules.bodies,
    session_rules.unknown_session,
    session_rules.creation,
    session_rules.replay,
    session_rules.reused_key,
    session_rules.waiting,
    session_rules.listing,
    session_rules.labels,
    session_rules.label_removal,
    run_rules.answers,
    run_rules.message_replay,
    run_rules.unknown_run,
    log_rules.one_end,
    log_rules.compaction,
    log_rules.transcript,
    log_rules.pages,
    log_rules.conditional,
    log_rules.streaming,
    log_rules.resumption,
    log_rules.cursors,
    run_rules.live,
    run_rules.interruption,
    run_rules.busy,
    run_rules.removal,
    run_rules.approvals,
    run_rules.ag_ui,
    session_rules.stopping,
    session_rules.deletion,
)


def check_all(subject: Subject) -> Iterator[Result]:
    """Yield the result of each rule as soon as it is there."""
    for check in RULES:
        started = time.monotonic()
        outcome, detail = Outcome.PASSED, ""
        try:
            check(subject)
        except Violation as violation:
            outcome, detail = Outcome.FAILED, str(violation)
        except NotApplicable as reason:
            outcome, detail = Outcome.SKIPPED, str(reason)
        except (requests.RequestException, LookupError, TypeError, ValueError) as error:
            outcome, detail = Outcome.ERROR, f"{type(error).__name__}: {error}"
        sentence = (check.__doc__ or "").strip()
        yield Result(check.__name__, sentence, outcome, time.monotonic() - started, detail)
