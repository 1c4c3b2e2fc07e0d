"""`POST /v1/completions`: what the fields do, and what the answer says."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.api.openai.requests import CompletionRequest
from service.api.openai.responses import CompletionResponse
from service.served_model import ServedModel
from tests.service.api.asking import answer_to, refusal_of
from tests.service.conftest import Serve
from tests.service.event_streams import read_events

URL = "/v1/completions"
BASE = {"prompt": "the cat", "max_tokens": 40, "seed": 3, "logprobs": 0}


async def complete(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await answer_to(client, URL, {**BASE, **fields})


async def refuse(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await refusal_of(client, URL, {**BASE, **fields})


async def test_the_answers_form(client: httpx.AsyncClient, served: ServedModel) -> None:
    answer = await complete(client, logprobs=None)
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == "default"
    assert (answer["seed"], answer["bos"]) == (3, True)
    (choice,) = answer["choices"]
    assert set(choice) == {
        *("index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_logprobs")
    }
    assert choice["logprobs"] is choice["prompt_logprobs"] is None
    usage = answer["usage"]
    prompt_tokens = len(served.tokenizer.encode("the cat"))
    assert usage["prompt_tokens"] == prompt_tokens
    assert usage["total_tokens"] == prompt_tokens + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_answers_are_as_documented(client: httpx.AsyncClient) -> None:
    fields: dict[str, Any] = {"n": 2, "echo": True, "logprobs": 2, "return_state": True}
    whole = await complete(client, **fields, prompt_logprobs=1, prompt=[9, 10])
    CompletionResponse.model_validate(whole, extra="forbid")
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in read_events(await client.post(URL, json={**BASE, **fields, **options})):
        CompletionResponse.model_validate(chunk, extra="forbid")


# Each changes the sampled tokens of BASE.
EFFECTIVE: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.3,
    "top_k": 3,
    "min_p": 0.4,
    "typical_p": 0.3,
    "presence_penalty": 2,
    "frequency_penalty": 2,
    "repetition_penalty": 2,
    "logit_bias": {"40": 50},
    "allowed_token_ids": [40, 41, 42],
    "seed": 4,
    "use_beam_search": True,
    "max_tokens": 3,
    "prompt": "the dog",
    "truncate_prompt_tokens": 1,
    "guided_choice": [" dog", " cat"],
    "guided_regex": "[a-f]{3}",
    "guided_json": {"type": "integer"},
    "response_format": {"type": "json_object"},
    "structured_outputs": {"regex": "[a-f]{3}"},
    "add_special_tokens": False,
}
# Covered by a test of their own, here or where the name says.
ELSEWHERE = {
    "model",  # test_a_model_by_name
    "n",
    "best_of",
    "stop",
    "stream",  # test_streaming
    "stream_options",  # test_streaming
    "user",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "bad_words",
    "length_penalty",
    "return_tokens_as_token_ids",
    "prompt_logprobs",
    "include_stop_str_in_output",
    "return_token_ids",
    "state",
    "return_state",
    "logprobs",
    "echo",
}


def test_every_field_has_a_test() -> None:
    assert set(CompletionRequest.model_fields) == EFFECTIVE.keys() | ELSEWHERE


@pytest.mark.parametrize("field", EFFECTIVE)
async def test_a_field_has_an_effect(client: httpx.AsyncClient, field: str) -> None:
    plain = await complete(client)
    changed = await complete(client, **{field: EFFECTIVE[field]})
    assert plain["choices"][0]["logprobs"] != changed["choices"][0]["logprobs"]


async def test_null_and_the_default_are_the_same(client: httpx.AsyncClient) -> None:
    plain = await complete(client)
    nulls = dict.fromkeys(set(CompletionRequest.model_fields) - set(BASE))
    assert (await complete(client, **nulls))["choices"] == plain["choices"]
    assert (await complete(client, user="me", strange=1))["choices"] == plain["choices"]


async def test_logit_bias_and_allowed_tokens_decide(client: httpx.AsyncClient) -> None:
    biased = await complete(client, logit_bias={"40": 100}, return_tokens_as_token_ids=True)
    assert set(biased["choices"][0]["logprobs"]["tokens"]) == {"token_id:40"}
    allowed = await complete(client, allowed_token_ids=[40, 41], return_tokens_as_token_ids=True)
    assert set(allowed["choices"][0]["logprobs"]["tokens"]) == {"token_id:40", "token_id:41"}


async def test_samples_differ_and_come_again(client: httpx.AsyncClient) -> None:
    first, again = [await complete(client, n=3) for _ in range(2)]
    texts = [choice["text"] for choice in first["choices"]]
    assert len(set(texts)) == 3
    assert first["choices"] == again["choices"]
    assert first["choices"][0] == (await complete(client))["choices"][0]
    tokens = sum(len(choice["logprobs"]["tokens"]) for choice in first["choices"])
    assert first["usage"]["completion_tokens"] == tokens


async def test_a_drawn_seed_can_be_sent_again(client: httpx.AsyncClient) -> None:
    drawn = await complete(client, seed=None)
    again = await complete(client, seed=drawn["seed"])
    assert again["choices"] == drawn["choices"]


async def test_best_of_returns_the_best_means(client: httpx.AsyncClient) -> None:
    every = await complete(client, n=5, max_tokens=6)
    best = await complete(client, n=2, best_of=5, max_tokens=6)

    def mean(choice: dict[str, Any]) -> float:
        scores = choice["logprobs"]["token_logprobs"]
        return float(sum(scores) / len(scores))

    ranked = sorted(every["choices"], key=mean, reverse=True)
    assert [choice["text"] for choice in best["choices"]] == [c["text"] for c in ranked[:2]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert best["usage"] == every["usage"]


async def test_beams(client: httpx.AsyncClient) -> None:
    fields = {"use_beam_search": True, "n": 2, "best_of": 4, "max_tokens": 5, "ignore_eos": True}
    beams = (await complete(client, **fields))["choices"]
    greedy = (await complete(client, temperature=0, max_tokens=5, ignore_eos=True))["choices"][0]
    totals = [sum(beam["logprobs"]["token_logprobs"]) for beam in beams]
    assert totals[0] >= totals[1]
    assert totals[0] >= sum(greedy["logprobs"]["token_logprobs"]) - 1e-9
    assert beams[0]["text"] != beams[1]["text"]


async def test_length_penalty_changes_the_ranking_of_beams(client: httpx.AsyncClient) -> None:
    fields = {
        "use_beam_search": True,
        "best_of": 4,
        "max_tokens": 8,
        "stop_token_ids": [*range(9, 200)],
    }
    lengths = set()
    for penalty in (-10, 10):
        answer = await complete(client, **fields, length_penalty=penalty)
        lengths.add(answer["usage"]["completion_tokens"])
    assert len(lengths) == 2


async def test_stop_strings(client: httpx.AsyncClient) -> None:
    text = (await complete(client))["choices"][0]["text"]
    for stop in (text[5:7], text[10:11], text[-3:]):
        (choice,) = (await complete(client, stop=[stop, "never"]))["choices"]
        assert choice["text"] == text[: text.index(stop)]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
        assert "".join(choice["logprobs"]["tokens"]).find(stop) == -1
    assert (await complete(client, stop="never"))["choices"][0]["finish_reason"] == "length"


async def test_stop_tokens(client: httpx.AsyncClient, served: ServedModel) -> None:
    plain = (await complete(client, return_tokens_as_token_ids=True))["choices"][0]["logprobs"]
    ids = [int(token.removeprefix("token_id:")) for token in plain["tokens"]]
    stop = ids[10]
    length = ids.index(stop) + 1
    (choice,) = (await complete(client, stop_token_ids=[stop]))["choices"]
    assert len(choice["logprobs"]["tokens"]) == length
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
    late = (await complete(client, stop_token_ids=[stop], min_tokens=length))["choices"][0]
    assert len(late["logprobs"]["tokens"]) > length

    eos = served.tokenizer.eos_id
    (ended,) = (await complete(client, logit_bias={str(eos): 100}))["choices"]
    assert (ended["text"], ended["finish_reason"]) == ("", "stop")
    assert ended["logprobs"]["tokens"] == ["</s>"]
    assert ended["stop_reason"] is None
    ignoring = (await complete(client, logit_bias={str(eos): 100}, ignore_eos=True))["choices"][0]
    assert ignoring["finish_reason"] == "length"
    assert "</s>" not in ignoring["logprobs"]["tokens"]


async def test_bad_words_are_not_completed(client: httpx.AsyncClient, served: ServedModel) -> None:
    word = next(
        i for i in range(served.tokenizer.vocab_size) if served.tokenizer.piece(i) == "▁the"
    )
    fields = {"logit_bias": {str(word): 100}, "max_tokens": 5}
    assert (await complete(client, **fields))["choices"][0]["text"] == " the" * 5
    banned = (await complete(client, **fields, bad_words=["the"]))["choices"][0]["text"]
    assert " the" not in banned


async def test_prompts_of_every_form(client: httpx.AsyncClient, served: ServedModel) -> None:
    ids = [served.tokenizer.bos_id, *served.tokenizer.encode("the cat")]
    one = (await complete(client))["choices"][0]["text"]
    by_ids = await complete(client, prompt=ids)
    assert by_ids["choices"][0]["text"] == one
    for given in (None, True, False):
        for own, prompt in ((True, ids), (False, ids[1:])):
            answer = await complete(client, prompt=prompt, add_special_tokens=given)
            has_bos = own or given is not False
            assert answer["bos"] is has_bos
            assert answer["usage"]["prompt_tokens"] == len(ids) - 1 + own
            assert (answer["choices"][0]["text"] == one) is has_bos
    mixed = await complete(client, prompt=[ids, ids[1:]], echo=True, seed=5)
    first, second = (choice["logprobs"]["token_logprobs"] for choice in mixed["choices"])
    assert first[0] is None
    assert first[1 : len(ids)] == second[: len(ids) - 1]
    for many in (["the cat", "the dog"], [ids, ids[:2]]):
        answer = await complete(client, prompt=many, n=2)
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
        assert answer["choices"][0]["text"] == one
    assert len((await complete(client, prompt=""))["choices"][0]["text"]) > 0


async def test_a_prompt_may_be_cut_to_its_end(client: httpx.AsyncClient) -> None:
    cut = await complete(client, prompt="the dog sat on the mat", truncate_prompt_tokens=2)
    ids = (await client.post("/tokenize", json={"prompt": "the dog sat on the mat"})).json()
    by_ids = await complete(client, prompt=ids["tokens"][-2:])
    assert cut["choices"] == by_ids["choices"]
    assert cut["usage"]["prompt_tokens"] == 2
    whole = await complete(client, truncate_prompt_tokens=-1)
    assert whole["choices"] == (await complete(client))["choices"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_may_be_part_of_the_text(
    client: httpx.AsyncClient, stream: bool
) -> None:
    fields = {"temperature": 2, "max_tokens": 200, "ignore_eos": True, "stop": ["e", "th"]}
    hidden = (await complete(client, **fields))["choices"][0]
    body = {**BASE, **fields, "include_stop_str_in_output": True, "stream": stream}
    response = await client.post(URL, json=body)
    if stream:
        events = read_events(response)
        text = "".join(event["choices"][0]["text"] for event in events)
    else:
        choice = response.json()["choices"][0]
        text = choice["text"]
        assert choice["logprobs"]["text_offset"][-1] < len(text)
    assert text.removeprefix(hidden["text"]) in ("e", "th")


async def test_token_ids_beside_the_text(client: httpx.AsyncClient, served: ServedModel) -> None:
    answer = await complete(client, prompt=["the cat", "a"], return_token_ids=True, logprobs=None)
    for choice, prompt in zip(answer["choices"], ["the cat", "a"], strict=True):
        ids = [served.tokenizer.bos_id, *served.tokenizer.encode(prompt)]
        assert choice["prompt_token_ids"] == ids
        text = served.tokenizer.decode(choice["token_ids"], continuation=True)
        assert text == choice["text"]
        assert choice["logprobs"] is None


async def test_alternatives_may_be_the_whole_vocabulary(
    client: httpx.AsyncClient, served: ServedModel
) -> None:
    answer = await complete(
        client, logprobs=-1, max_tokens=2, return_tokens_as_token_ids=True, prompt_logprobs=-1
    )
    (choice,) = answer["choices"]
    for top in (*choice["logprobs"]["top_logprobs"], *choice["prompt_logprobs"]):
        assert len(top) == served.tokenizer.vocab_size


async def test_a_seed_of_minus_one_is_drawn(client: httpx.AsyncClient) -> None:
    seeds = {(await complete(client, seed=-1))["seed"] for _ in range(4)}
    assert len(seeds) == 4


@pytest.mark.parametrize(
    ("field", "value", "instead"),
    [
        ("n_predict", 5, "max_tokens"),
        ("n_probs", 5, "logprobs"),
        ("repeat_penalty", 1.1, "repetition_penalty"),
        ("mirostat", 2, ""),
        ("dry_multiplier", 0.8, ""),
        ("xtc_probability", 0.5, ""),
        ("samplers", ["top_k"], ""),
        ("max_new_tokens", 5, "max_tokens"),
        ("logprob_token_ids", [5], "/v1/next-token"),
        ("ebnf", "root ::= 'a'", ""),
    ],
)
async def test_known_names_of_other_servers_are_refused_not_ignored(
    client: httpx.AsyncClient, field: str, value: Any, instead: str
) -> None:
    error = await refuse(client, **{field: value})
    assert (error["param"], error["code"]) == (field, "unsupported_field")
    assert instead in error["message"]


async def test_a_model_by_name(client: httpx.AsyncClient) -> None:
    assert (await complete(client, model="tiny"))["model"] == "tiny"
    response = await client.post(URL, json={**BASE, "model": "other"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"suffix": "x"}, "suffix"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"skip_special_tokens": 1}, "skip_special_tokens"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt.1"),
        ({"prompt": [5, 360]}, "prompt.1"),
        ({"prompt": [[5], [6, 360]]}, "prompt.1.1"),
        ({"prompt": "", "add_special_tokens": False}, "prompt"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 65537}, "max_tokens"),
        ({"max_tokens": 1000, "n": 100}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"n": 0}, "n"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 2**63}, "seed"),
        ({"state": "no state"}, "state"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    error = await refuse(client, **fields)
    assert error["param"] == param
    assert error["message"].startswith(param)


async def test_neutral_values_of_unsupported_fields_are_let_through(
    client: httpx.AsyncClient,
) -> None:
    plain = await complete(client)
    neutral: dict[str, Any] = {
        "tools": [],
        "suffix": None,
        "response_format": {"type": "text"},
        "store": False,
    }
    assert (await complete(client, **neutral))["choices"] == plain["choices"]


async def test_limits_are_settings(serve: Serve) -> None:
    async with serve(max_texts=1, max_prompt_tokens=10, max_new_tokens=50, max_logprobs=60) as http:
        assert (await refuse(http, prompt=["a", "b"]))["code"] == "limit_exceeded"
        assert (await refuse(http, prompt="a b c d e f g h i j k l"))["param"] == "prompt"
        assert (await refuse(http, max_tokens=51))["param"] == "max_tokens"
        assert (await refuse(http, logprobs=2))["param"] == "logprobs"
        await complete(http, logprobs=1)
