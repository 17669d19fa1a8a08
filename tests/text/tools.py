"""Goldens for tests/chat/tools.rs: conversations with tools, written out by Hugging Face's own code.

    python tools.py > tools.json

Made with transformers 5.23.0, tokenizers 0.23.3, jinja2 3.1.6. Each conversation goes through the templates as they are (`text`, or the
`error` of a template that refuses it) and through the same ones without their faults (`mended`).
"""

import json
from pathlib import Path

import jinja2
import tokenizers
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

assert (transformers.__version__, tokenizers.__version__, jinja2.__version__) == ("5.23.0", "0.23.3", "3.1.6")


def tool(name, description, properties, required):
    parameters = dict(type="object", properties=properties, required=required)
    return dict(type="function", function=dict(name=name, description=description, parameters=parameters))


WEATHER = tool("weather", "The weather in a town, now.", dict(town=dict(type="string"), unit=dict(type="string", enum=["C", "F"])), ["town"])
NOTES = tool("search_notes", "Finds notes: \"quoted\", <bracketed>, größer als früher, 日本.", dict(words=dict(type="array", items=dict(type="string"))), [])
NOW = dict(type="function", function=dict(name="now", parameters=dict(type="object", properties={})))


def call(number, name, arguments):
    return dict(id=f"call_{number}", type="function", function=dict(name=name, arguments=arguments))


def said(role, content, **more):
    return dict(role=role, content=content, **more)


SYSTEM, QUESTION = said("system", "Be brief."), said("user", "Is it raining in Oslo?")
ONE = said("assistant", None, tool_calls=[call(1, "weather", '{"town": "Oslo", "unit": "C"}')])
RAIN = said("tool", "rain, 4 °C", tool_call_id="call_1")
TWO = said("assistant", "Let me look.", tool_calls=[
    call(1, "search_notes", '{"words":["a \\"b\\"","<c>","größer",""],"more":{"n":1.5,"ok":true,"none":null,"list":[[],{}]}}'),
    call(2, "now", "{}")])
LATER = said("system", "Answer in verse.")

CONVERSATIONS = [
    ([QUESTION], [WEATHER]),
    ([SYSTEM, QUESTION], [WEATHER, NOTES, NOW]),
    ([said("system", ""), QUESTION], [WEATHER]),
    ([QUESTION, ONE], [WEATHER]),
    ([SYSTEM, QUESTION, ONE, RAIN], [WEATHER, NOW]),
    ([SYSTEM, QUESTION, ONE, RAIN, said("assistant", "Yes."), said("user", "And my notes?"), TWO,
      said("tool", "none", tool_call_id="call_1"), said("tool", "12:00", tool_call_id="call_2")], [WEATHER, NOTES, NOW]),
    ([QUESTION, TWO, said("tool", "", tool_call_id="call_1"), said("tool", "x\ny", tool_call_id="call_2"), said("assistant", "None."),
      said("user", "Thanks!")], [NOTES]),
    ([QUESTION, said("assistant", "", tool_calls=[call(1, "now", "")]), RAIN, QUESTION, ONE, RAIN], [NOW]),
    ([QUESTION, said("assistant", "", tool_calls=[call(1, "now", "not JSON")]), RAIN], [NOW]),
    ([SYSTEM, QUESTION, said("assistant", "No."), LATER, QUESTION], [WEATHER]),
    ([SYSTEM, LATER, QUESTION], None),
    ([QUESTION, said("assistant", "No."), LATER, QUESTION], None),
    ([QUESTION, ONE, RAIN, said("assistant", "Yes."), QUESTION], None),
    ([SYSTEM, QUESTION, TWO, said("tool", "a", tool_call_id="call_1"), said("tool", "b", tool_call_id="call_2"), LATER, QUESTION], None),
    ([QUESTION], None),
    ([SYSTEM, QUESTION, said("assistant", "No."), QUESTION], None),
]


def decoded(message):
    """Arguments as templates want them."""
    def one(arguments):
        try:
            found = json.loads(arguments) if arguments.strip() else {}
        except ValueError:
            return arguments
        return found if isinstance(found, dict) else arguments
    if "tool_calls" not in message:
        return message
    calls = [dict(c, function=dict(c["function"], arguments=one(c["function"]["arguments"]))) for c in message["tool_calls"]]
    return dict(message, tool_calls=calls)


def main():
    folder = Path(__file__).parent
    cases = []
    for name in ["tools-object", "tools-array"]:
        def tokenizer(file):
            source = (folder / f"{file}.jinja").read_text()
            return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<|begin_of_text|>", eos_token="<|im_end|>",
                                           chat_template=source)
        raw, mended = tokenizer(name), tokenizer(f"{name}-mended")
        for messages, tools in CONVERSATIONS:
            for generate in (False, True):
                case = dict(template=name, messages=messages, tools=tools, generate=generate)
                options = dict(tools=tools, tokenize=False, add_generation_prompt=generate)
                ready = [decoded(message) for message in messages]
                try:
                    case["text"] = raw.apply_chat_template(ready, **options)
                except (jinja2.exceptions.TemplateError, TypeError) as error:
                    case["error"] = str(error)
                case["mended"] = mended.apply_chat_template(ready, **options)
                cases.append(case)
    print("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
