"""Usage of language models, read from terminal events of any shape."""

from typing import Any

import msgspec
import pytest

from app.agui.run_summaries import summaries
from app.agui.usage import total, usage
from app.models.runs import Usage
from tests.support.agui_samples import log, raw


def read_usage(type_: str = "RUN_FINISHED", **fields: Any) -> dict[str, Any] | None:
    (event,) = log(raw(type_, **fields))
    found = usage(event)
    return None if found is None else msgspec.to_builtins(found)


def test_the_usage_of_several_models_is_added_up() -> None:
    one = {"provider": "a", "model": "m", "inputTokens": 10, "outputTokens": 2, "totalTokens": 13, "reasoningTokens": 1}
    two = {"model": "n", "inputTokens": 5, "outputTokens": 4, "cachedInputTokens": 3, "cacheWriteInputTokens": 2}
    for type_ in ("RUN_FINISHED", "RUN_ERROR"):
        assert read_usage(type_, usage=[one, two]) == {
            "input_tokens": 15,
            "output_tokens": 6,
            "total_tokens": 22,
            "reasoning_tokens": 1,
            "cached_input_tokens": 3,
            "cache_write_input_tokens": 2,
        }


def test_the_result_of_the_platform_is_read() -> None:
    tokens = {"input_tokens": 3, "output_tokens": 71, "cache_read_input_tokens": 9, "cache_creation_input_tokens": 4}
    assert read_usage(result={"usage": tokens | {"service_tier": "standard"}, "total_cost_usd": 0.06}) == {
        "input_tokens": 3,
        "output_tokens": 71,
        "total_tokens": 74,
        "cached_input_tokens": 9,
        "cache_write_input_tokens": 4,
        "cost_usd": 0.06,
    }


def test_tokens_that_are_reported_twice_count_once() -> None:
    result = {"usage": {"input_tokens": 3, "output_tokens": 71}, "total_cost_usd": 0.5}
    assert read_usage(usage=[{"inputTokens": 4}], result=result) == {"input_tokens": 4, "cost_usd": 0.5}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"usage": None, "result": None},
        {"usage": [], "result": {}},
        {"usage": {"inputTokens": 1}},
        {"usage": [1, "x", {}, {"inputTokens": -1}, {"inputTokens": True}, {"inputTokens": 1.5}]},
        {"usage": [{"inputTokens": 10**13}]},
        {"result": "done"},
        {"result": {"usage": [], "total_cost_usd": "1"}},
        {"result": {"total_cost_usd": -1}},
    ],
)
def test_usage_of_another_shape_counts_as_none(fields: dict[str, Any]) -> None:
    assert read_usage(**fields) is None


def test_a_number_counts_although_another_has_a_wrong_type() -> None:
    assert read_usage(usage=[{"inputTokens": "7", "outputTokens": 8}]) == {"output_tokens": 8}


def test_other_events_have_no_usage() -> None:
    assert read_usage("TEXT_MESSAGE_END", usage=[{"inputTokens": 1}]) is None


def test_a_sum_is_over_the_usages_that_have_the_number() -> None:
    parts = [Usage(input_tokens=1, cost_usd=0.1), None, Usage(output_tokens=2, cost_usd=0.2), Usage(input_tokens=0)]
    assert total(parts) == Usage(input_tokens=1, output_tokens=2, cost_usd=0.3)
    assert total([None, Usage()]) is None
    assert total([Usage(input_tokens=0)]) == Usage(input_tokens=0)


def test_the_usage_of_a_run_is_that_of_its_last_terminal_event() -> None:
    ends = [raw("RUN_ERROR", usage=[{"inputTokens": 1}]), raw("RUN_FINISHED", usage=[{"inputTokens": 5}])]
    for last in (raw("RUN_FINISHED"), ends[1]):
        (run,) = summaries(log(raw("RUN_STARTED"), *ends, last), session_running=True)
        assert run.usage == Usage(input_tokens=5)
