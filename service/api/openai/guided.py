"""Guided decoding: from a request's fields to what its texts must spell."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.tokenizer import Tokenizer
from service.api.client import ModelClient, off_loop
from service.api.openai.known_fields import REFUSED_STRUCTURED, refuse_unserved
from service.api.openai.requests import GenerationRequest, StructuredOutputs
from service.engine.request import Grammar, Guide, NextToken, SamplingParams, TokenChoices
from service.http.errors import check_count, invalid
from service.text.history import Prompt

Json = dict[str, Any]

MAX_SCHEMA_LENGTH = 1 << 16
# Without this, of the tokens that spell what must come only one would be let through.
NO_FORCING = '%llguidance {"no_forcing": true}'
# Between the parts of JSON: what a text of one line has. White space of any length would let a
# small model write nothing else.
_JSON_SPACE = {"whitespace_pattern": " ?"}

_OF_FORMATS = {
    "text": ("type",),
    "json_object": ("type", "schema"),
    "json_schema": ("type", "json_schema"),
}
_OF_SCHEMA = ("name", "description", "strict", "schema")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request's texts must be; param: the field that says so.

    One of choices, a regular expression over the whole text, or a JSON schema.
    """

    param: str
    choices: tuple[str, ...] | None = None
    regex: str | None = None
    schema: Any = None

    def guide(self, tokenizer: Tokenizer, sampling: SamplingParams, *, in_line: bool) -> Guide:
        """For texts that go on in the middle of a line, or begin one. May take 100 ms."""
        if self.choices is not None:
            encoded = (tokenizer.encode(text, continuation=in_line) for text in self.choices)
            return TokenChoices(tuple(map(tuple, encoded)), self.param)
        # A line's first token brings a space that is not in the text.
        before = "" if in_line else " "
        # Where other fields forbid tokens, the way to an end may be one that they forbid.
        is_free = sampling.allowed_token_ids is None and not sampling.bad_words
        leads = is_free and not sampling.min_tokens
        max_tokens = sampling.max_tokens if leads else None
        return Grammar(_grammar(self, before), max_tokens, self.param)


def wanted_of(body: GenerationRequest) -> Wanted | None:
    """What `body` says of its texts, None for nothing; an ApiError for a contradiction."""
    found = [
        *_from_guided(body),
        *_from_response_format(body.response_format),
        *_from_structured(body.structured_outputs),
    ]
    if len(found) > 1:
        raise invalid(found[1].param, f"{found[0].param} is given too; send one of the two")
    if not found:
        return None
    (wanted,) = found
    if body.ignore_eos:
        raise invalid("ignore_eos", f"a text that fulfils {wanted.param} must be able to end")
    return wanted


def _from_guided(body: GenerationRequest) -> list[Wanted]:
    found = []
    if body.guided_choice is not None:
        found.append(Wanted(param="guided_choice", choices=tuple(body.guided_choice)))
    if body.guided_regex is not None:
        found.append(Wanted(param="guided_regex", regex=body.guided_regex))
    if body.guided_json is not None:
        found.append(Wanted(param="guided_json", schema=_schema("guided_json", body.guided_json)))
    return found


def _from_response_format(form: Any) -> list[Wanted]:
    param = "response_format"
    match form:
        case None | {"type": "text"}:
            return []
        case {"type": "json_object", "schema": schema}:  # llama.cpp's form
            return [Wanted(param=param, schema=_schema(f"{param}.schema", schema))]
        case {"type": "json_object"}:
            return [Wanted(param=param, schema={"type": "object"})]
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return [Wanted(param=param, schema=_schema(f"{param}.json_schema.schema", schema))]
    raise invalid(
        param,
        'must be {"type": "text"}, {"type": "json_object"} or '
        '{"type": "json_schema", "json_schema": {"schema": ...}}',
    )


def unknown_of_format(form: Json | None) -> list[str]:
    """Names in `response_format` that nobody knows; an ApiError for a schema that its type does
    not take, and would be ignored."""
    form = form or {}
    taken = _OF_FORMATS.get(str(form.get("type")), tuple(form))
    unknown = []
    for name, value in form.items():
        place = f"response_format.{name}"
        if name in ("schema", "json_schema") and name not in taken:
            if value is not None:
                raise invalid(place, f"does not go with the type {form['type']!r}")
        elif name not in taken:
            unknown.append(place)
        elif name == "json_schema" and isinstance(value, dict):
            unknown += [f"{place}.{own}" for own in value if own not in _OF_SCHEMA]
    return unknown


def _from_structured(asked: StructuredOutputs | None) -> list[Wanted]:
    """vLLM's newer form of the `guided_` fields."""
    param = "structured_outputs"
    if asked is None:
        return []
    for name in refuse_unserved(asked.model_extra, REFUSED_STRUCTURED, place=f"{param}."):
        raise invalid(name, "is not known; known are choice, json, json_object and regex")
    found = []
    if asked.choice is not None:
        found.append(Wanted(param=f"{param}.choice", choices=tuple(asked.choice)))
    if asked.regex is not None:
        found.append(Wanted(param=f"{param}.regex", regex=asked.regex))
    if asked.schema_ is not None:
        place = f"{param}.json"
        found.append(Wanted(param=place, schema=_schema(place, asked.schema_)))
    if asked.json_object:
        found.append(Wanted(param=f"{param}.json_object", schema={"type": "object"}))
    return found


def _schema(param: str, value: Any) -> Any:
    """A JSON schema, or its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise invalid(param, f"is no JSON: {error}") from None
    if not isinstance(value, dict | bool):
        raise invalid(param, "must be a JSON schema: an object, or true or false")
    if len(json.dumps(value)) > MAX_SCHEMA_LENGTH:
        raise invalid(param, f"has more than {MAX_SCHEMA_LENGTH} characters", code="limit_exceeded")
    return value


async def guides_of(
    wanted: Wanted, client: ModelClient, prompts: Sequence[Prompt], sampling: SamplingParams
) -> list[Guide]:
    """A guide for the continuations of each prompt."""
    if wanted.choices is not None:
        _check_choices(wanted, wanted.choices, client, prompts)
    # Compiling a grammar may take 100 ms.
    size = sum(map(len, wanted.choices)) if wanted.choices is not None else sys.maxsize
    made: dict[bool, Guide] = {}
    for prompt in prompts:
        if prompt.ends_in_line not in made:
            made[prompt.ends_in_line] = await off_loop(
                size, wanted.guide, client.tokenizer, sampling, in_line=prompt.ends_in_line
            )
    return [made[prompt.ends_in_line] for prompt in prompts]


def _check_choices(
    wanted: Wanted, choices: Sequence[str], client: ModelClient, prompts: Sequence[Prompt]
) -> None:
    """Refuse more choices than can be weighed, before anything is computed."""
    settings = client.settings
    count = len(prompts) * len(choices)
    check_count(wanted.param, count, settings.max_texts, "choices in all")
    tokens = len(choices) * sum(len(prompt.ids) for prompt in prompts)
    # No token is shorter than a byte.
    tokens += len(prompts) * sum(len(choice.encode()) for choice in choices)
    check_count(wanted.param, tokens, settings.max_prompt_tokens, "tokens at most with the prompts")


def _grammar(wanted: Wanted, before: str) -> str:
    """In llguidance's form; an ApiError for one that it does not know or that is too large."""
    try:
        from llguidance import LLMatcher
    except ImportError:
        raise invalid(
            wanted.param,
            "needs the extra 'guided' on the server: pip install 'lstm-serve[guided]'",
            code="unsupported_field",
        ) from None
    if wanted.regex is not None:
        inner = _lark_regex(wanted.regex)
    else:
        options = json.dumps(_JSON_SPACE)
        inner = f"%json {json.dumps(_with_options(wanted.schema, options))}"
    rule = f'start: "{before}" body' if before else "start: body"
    text = LLMatcher.grammar_from_lark(f"{NO_FORCING}\n{rule}\nbody: {inner}\n")
    if fault := LLMatcher.validate_grammar(text):
        # It ends with a drawing of this grammar, of which the client knows nothing.
        said = " ".join(re.split(r"\n\s*1 \| ", fault)[0].split())
        raise invalid(wanted.param, re.sub(r"^(ERROR: )?(at \d+\(\d+\): )?", "", said)[:300])
    return text


def _with_options(schema: Any, options: str) -> Any:
    if schema is True:
        schema = {}
    elif schema is False:
        return False
    return {**schema, "x-guidance": json.loads(options)}


def _lark_regex(regex: str) -> str:
    """A regular expression between slashes; those in it are escaped, where they are not already."""
    return "/" + re.sub(r"\\.|/", _escaped, regex, flags=re.DOTALL) + "/"


def _escaped(found: re.Match[str]) -> str:
    return r"\/" if found[0] == "/" else found[0]


async def choice_probabilities(
    client: ModelClient,
    wanted: Wanted,
    prompts: Sequence[Prompt],
    guides: Sequence[Guide],
    stops: Sequence[int],
) -> list[list[Json]] | None:
    """By prompt, how probable each choice is; None where it is not about choices.

    logprob: ln P of the choice's canonical tokens; end_logprob: ln P that the text then ends;
    share: of both together, among the choices.
    """
    if wanted.choices is None:
        return None
    texts = [
        (*prompt.ids, *sequence)
        for prompt, guide in zip(prompts, guides, strict=True)
        if isinstance(guide, TokenChoices)
        for sequence in guide.sequences
    ]
    lengths = [len(prompt.ids) for prompt in prompts for _ in wanted.choices]
    computed = await client.compute(
        texts,
        start=prompts[0].before.start,
        prompt_logprobs=0,
        score_from=lengths,
        next_token=NextToken(token_ids=tuple(stops)),
    )
    found = []
    for output, length in zip(computed.prompts, lengths, strict=True):
        assert output.logprobs is not None
        assert output.next_token is not None
        chosen = [logprob for _, logprob in output.next_token.chosen]
        logprob = float(output.logprobs[length:].sum(dtype=float))
        found.append((logprob, _log_sum_exp(chosen)))
    count = len(wanted.choices)
    return [
        _shares(wanted.choices, found[first : first + count])
        for first in range(0, len(found), count)
    ]


def _shares(choices: Sequence[str], found: Sequence[tuple[float, float]]) -> list[Json]:
    total = _log_sum_exp([logprob + end for logprob, end in found])
    return [
        {
            "choice": choice,
            "logprob": logprob,
            "end_logprob": end,
            "share": math.exp(logprob + end - total),
        }
        for choice, (logprob, end) in zip(choices, found, strict=True)
    ]


def _log_sum_exp(values: Sequence[float]) -> float:
    best = max(values)
    return best + math.log(math.fsum(math.exp(value - best) for value in values))
