"""The little language in which the conversations of `data/` are written.

A conversation is one line, its turns are separated by `||`, the user speaks first. Inside a turn `{a|b|}` is a choice
(choices nest), and `[name]` is an entry of the list of that name in `data/lists.txt`: the same entry wherever it
stands in the line. `[name2]` is another entry of the same list, `[a name]` puts the article before it, `[Name]`
starts it with a capital.
"""

import os
import re

DATA = os.path.join(os.path.dirname(__file__), "..", "data")
CHOICE = re.compile(r"\{([^{}]*)\}")
SLOT = re.compile(r"\[(a |A )?([A-Za-z]+)(\d?)\]")


def lines(name):
    """The lines of a data file without comments and empty lines."""
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return [line.strip() for line in f if line.strip() and not line.startswith("#")]


def table(name, width):
    """A data file whose fields are separated by `|`; a line of another width is an error."""
    rows = [line.split("|") for line in lines(name)]
    for row in rows:
        if len(row) != width:
            raise ValueError(f"{name}: {width} fields expected, {len(row)} found: {'|'.join(row)[:80]}")
    return rows


LISTS = {k: [x.strip() for x in v.split(",")] for k, v in (line.split(":", 1) for line in lines("lists.txt"))}


def article(noun):
    """The noun with "a" or "an"."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def upper(text):
    return text[:1].upper() + text[1:]


def choose(text, r):
    """Resolves the choices of a text, innermost first."""
    while m := CHOICE.search(text):
        text = text[: m.start()] + r.choice(m.group(1).split("|")) + text[m.end() :]
    return text


def tidy(text):
    """One space between words, none before marks."""
    text = re.sub(r" {2,}", " ", text)
    return re.sub(r" +([.,!?])", r"\1", text).strip()


def fill(text, r, bound):
    """Resolves the slots of a text; `bound` remembers what each slot of this conversation is."""

    def one(m):
        art, name, number = m.groups()
        key = name.lower() + number
        if name.lower() not in LISTS:
            raise ValueError(f"no list {name!r} for the slot {m.group(0)!r}")
        if key not in bound:
            taken = {v for k, v in bound.items() if k.rstrip("0123456789") == name.lower()}
            bound[key] = r.choice([x for x in LISTS[name.lower()] if x not in taken])
        value = bound[key]
        if art:
            return upper(article(value)) if art == "A " else article(value)
        return upper(value) if name[0].isupper() else value

    return SLOT.sub(one, text)


def conversation(line, r):
    """One conversation from a line: the turns, user first."""
    bound = {}
    turns = [tidy(fill(choose(turn, r), r, bound)) for turn in line.split("||")]
    if len(turns) % 2:
        raise ValueError(f"the last turn must be the assistant's: {line[:80]}")
    return turns
