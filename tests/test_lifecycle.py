"""The rules of a session's states, state by state."""

import pytest

from app.errors import AlreadyEnded, AlreadyRunning, ApiError, NotRunning, SessionStopping, UnknownState
from app.lifecycle import Action, Outcome, next_status, status_on
from app.models.sessions import SessionStatus as S

TABLE: dict[Action, dict[S, S | type[ApiError]]] = {
    Action.START: {
        S.PENDING: AlreadyRunning,
        S.RUNNING: AlreadyRunning,
        S.STOPPING: SessionStopping,
        S.STOPPED: S.PENDING,
        S.COMPLETED: S.PENDING,
        S.FAILED: S.PENDING,
        S.UNKNOWN: UnknownState,
    },
    Action.STOP: {
        S.PENDING: S.STOPPING,
        S.RUNNING: S.STOPPING,
        S.STOPPING: S.STOPPING,
        S.STOPPED: AlreadyEnded,
        S.COMPLETED: AlreadyEnded,
        S.FAILED: AlreadyEnded,
        S.UNKNOWN: UnknownState,
    },
    Action.RUN: {
        S.PENDING: NotRunning,
        S.RUNNING: S.RUNNING,
        S.STOPPING: NotRunning,
        S.STOPPED: NotRunning,
        S.COMPLETED: NotRunning,
        S.FAILED: NotRunning,
        S.UNKNOWN: NotRunning,
    },
}
EVERY = [(action, status) for action in Action for status in S]


@pytest.mark.parametrize(("action", "status"), EVERY)
def test_an_action_leads_on_or_is_refused_when_the_table_says_so(action: Action, status: S) -> None:
    expected = TABLE[action][status]
    if isinstance(expected, S):
        assert next_status(action, status) is expected
    else:
        with pytest.raises(ApiError) as refusal:
            next_status(action, status)
        assert type(refusal.value) is expected


@pytest.mark.parametrize("action", [Action.START, Action.STOP])
def test_a_session_without_a_state_is_in_an_unknown_one(action: Action) -> None:
    with pytest.raises(UnknownState):
        next_status(action, None)


@pytest.mark.parametrize(
    ("outcome", "before", "following"),
    [
        (Outcome.PROVISIONED, {S.PENDING}, S.RUNNING),
        (Outcome.NOT_PROVISIONED, {S.PENDING}, S.FAILED),
        (Outcome.STOPPED, {S.STOPPING}, S.STOPPED),
        (Outcome.LOST, {S.PENDING, S.RUNNING}, S.FAILED),
    ],
)
def test_an_outcome_counts_only_while_the_session_waits_for_it(outcome: Outcome, before: set[S], following: S) -> None:
    assert {status: status_on(outcome, status) for status in S} == {
        status: following if status in before else None for status in S
    }
