"""Questions with one answer: animals, capitals, sums, opposites, colors, how-to, ideas, jokes, things."""

import re

from .expand import LISTS, article, choose, lines, table, tidy, upper

ANIMALS = {row[0]: row[1:] for row in table("animals.txt", 8)}
CAPITALS = {row[0]: (row[1], row[2]) for row in table("capitals.txt", 3)}
JOKES, RIDDLES = table("jokes.txt", 2), table("riddles.txt", 2)
FACTS = [line.split("||") for line in lines("facts.txt")]
HOWTO, WAYS = table("howto.txt", 2), lines("ways.txt")
WHY, DIFFERENCES = table("why.txt", 2), table("differences.txt", 3)
IDEAS = [line.split(" || ") for line in lines("ideas.txt")]
OPPOSITES = [line.split("-") for line in lines("opposites.txt")]
COLORS = table("colors.txt", 2)
THINGS = table("things.txt", 2)
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
           "eighteen nineteen twenty").split()
ONE_OF = {"mammals": "a mammal", "birds": "a bird", "fish": "a fish", "sea animals": "a sea animal", "reptiles": "a reptile",
          "amphibians": "an amphibian", "insects": "an insect", "arachnids": "an arachnid",
          "small animals with a shell": "a small animal with a shell"}
LEGS = {"birds": "two", "insects": "six", "arachnids": "eight"}
NO_LEGS_ASKED = "whales dolphins seals octopuses snails monkeys kangaroos frogs turtles bats crocodiles sharks snakes".split()
# How heavy animals are, smallest first; animals on one line are not compared with each other.
SIZES = ["ants bees ladybugs", "mice frogs butterflies", "squirrels hedgehogs", "cats rabbits", "foxes dogs", "sheep pigs wolves",
         "lions tigers bears", "horses cows camels", "giraffes", "elephants", "whales"]
SPEEDS = ["snails sloths", "turtles", "mice ducks", "cats rabbits", "horses lions", "cheetahs"]


def animal(r):
    """One to four questions about one animal; later ones say "they"."""
    p = r.choice(list(ANIMALS))
    s, kind, food, home, sound, young, fact = ANIMALS[p]
    up, one = upper(p), article(s)
    fly = (kind == "birds" and p != "penguins") or p in ("bats", "bees", "butterflies")
    other = r.choice([k for k in ("birds", "fish", "insects", "mammals", "reptiles") if k != kind])
    fact_of = fact.replace("They", up, 1) if fact.startswith("They ") else fact
    asked = [
        (f"{{What do {p} eat?|What does {one} eat?|Tell me what {p} eat.|What is the food of {p}?}}",
         "{What do they eat?|And what do they eat?|What is their food?}", f"{{{up} eat {food}.|{up} mostly eat {food}.}}"),
        (f"{{Where do {p} live?|Where does {one} live?|Where can I find {p}?}}",
         "{Where do they live?|And where do they live?|Where can I find them?}", f"{{{up} live {home}.|You can find {p} {home}.}}"),
        (f"{{What sound does {one} make?|What sound do {p} make?|What noise do {p} make?}}",
         "{What sound do they make?|What noise do they make?}", f"{up} {sound}."),
        (f"{{What is a baby {s} called?|What do you call a baby {s}?|What is the name for a young {s}?}}",
         "{What are their babies called?|What do you call their babies?}", f"A baby {s} is called {young}."),
        (f"{{Tell me about {p}.|What are {p}?|What is {one}?|Tell me something about {p}.|What do you know about {p}?|Explain what {one} is.|"
         f"I want to learn about {p}.}}", "{Tell me more about them.|What else do you know about them?}",
         f"{{{up} are {kind}.|{upper(one)} is {ONE_OF[kind]}.}} They live {home}, and they eat {food}. {fact}"),
        (f"{{Tell me a fun fact about {p}.|Do you know a fact about {p}?|What is special about {p}?|Tell me something interesting about {p}.}}",
         "{Tell me a fun fact about them.|What is special about them?}", f"{{|Sure! |Here is one: }}{fact_of}"),
        (f"{{Are {p} {kind}?|Is {one} {ONE_OF[kind]}?}}", "{What kind of animals are they?|What are they?}", f"{up} are {kind}."),
        (f"{{Are {p} {other}?|Is {one} {ONE_OF[other]}?}}", f"Are they {other}?", f"No, {p} are not {other}. They are {kind}."),
        (f"{{Can {p} fly?|Can {one} fly?|Are {p} able to fly?}}", "{Can they fly?|Are they able to fly?|And can they fly?|Do they fly?|They can fly, can't they?}",
         f"Yes, {p} can fly." if fly else f"No, {p} can't fly."),
    ]
    if p not in NO_LEGS_ASKED:
        legs = LEGS.get(kind, "no" if kind == "fish" else "four")
        asked.append((f"{{How many legs do {p} have?|How many legs does {one} have?}}", "How many legs do they have?", f"{up} have {legs} legs."))
    turns = []
    for i, (question, they, answer) in enumerate(r.sample(asked, r.choice([1, 1, 2, 2, 3, 4]))):
        turns += [choose(they if i and r.random() < 0.75 else question, r), choose(answer, r)]
    return turns


def compare(r):
    """Which of two animals is bigger or faster."""
    steps, words = r.choice([(SIZES, ("bigger", "smaller")), (SIZES, ("heavier", "lighter")), (SPEEDS, ("faster", "slower"))])
    low, high = sorted(r.sample(range(len(steps)), 2))
    small, big = ({**{k: v[0] for k, v in ANIMALS.items()}, "ladybugs": "ladybug"}[r.choice(steps[i].split())] for i in (low, high))
    word, answer = r.choice([(words[0], big), (words[1], small)])
    pair = r.sample([big, small], 2)
    question = r.choice([f"Which is {word}, {article(pair[0])} or {article(pair[1])}?", f"What is {word}, {article(pair[0])} or {article(pair[1])}?",
                         f"Is {article(pair[0])} {word} than {article(pair[1])}?", f"Who is {word}, {article(pair[0])} or {article(pair[1])}?",
                         f"Which animal is {word}: {article(pair[0])} or {article(pair[1])}?"])
    said = f"{upper(article(answer))} is {word} than {article(small if answer == big else big)}."
    if question.startswith("Is "):
        said = ("Yes, " if pair[0] == answer else "No, ") + article(answer) + said[len(article(answer)):]
    return [question, said]


def capital(r):
    """A capital, a continent, or the other way round; often a second country in a short form."""
    names = list(CAPITALS)
    country = r.choice(names)
    city, continent = CAPITALS[country]
    kind = r.random()
    if kind < 0.72:
        turns = [choose(f"{{What is the capital of {country}?|What's the capital of {country}?|Do you know the capital of {country}?|"
                        f"Which city is the capital of {country}?|Tell me the capital of {country}.|Capital of {country}?|"
                        f"Please tell me the capital of {country}.|What is the capital city of {country}?}}", r),
                 choose(f"{{The capital of {country} is {city}.|{city} is the capital of {country}.}}", r)]
        for other in r.sample([n for n in names if n != country], r.choice([0, 0, 1, 1, 2])):
            turns += [choose(f"{{And {other}?|And of {other}?|What about {other}?|And what about {other}?|And the capital of {other}?|"
                             f"And that of {other}?|Now {other}, please.|Do you know {other}, too?}}", r),
                      f"The capital of {other} is {CAPITALS[other][0]}."]
        if r.random() < 0.15 and continent and len(turns) == 2:
            turns += [r.choice(["Where is it?", "Where is that country?", f"And where is {country}?"]), f"{upper(country)} is in {continent}."]
        return turns
    if kind < 0.86 and continent:
        return [choose(f"{{Where is {country}?|In which continent is {country}?|Which continent is {country} in?}}", r),
                f"{upper(country)} is in {continent}. Its capital is {city}."]
    return [choose(f"{{{city} is the capital of which country?|In which country is {city}?|Where is {city}?}}", r), f"{city} is the capital of {country}."]


def operation(r, value=None):
    """A small sum: words for the question, its text, and the result. With a value, the sum goes on from it."""
    kind = r.choice("++++--x")
    a = r.randint(0, 20) if value is None else value
    b = r.randint(1, 12)
    if kind == "-":
        a, b = (max(a, b), min(a, b)) if value is None else (a, min(a, b))
        return a, b, "minus", "-", a - b
    if kind == "x" and a <= 10:
        b = r.randint(1, 10)
        return a, b, "times", "x", a * b
    return a, b, "plus", "+", a + b


def sums(r):
    """One to four small sums; later ones are new or go on from the last result."""
    turns, value = [], None
    for i in range(r.choice([1, 1, 2, 2, 3, 4])):
        go_on = i and r.random() < 0.5 and value <= 40
        a, b, word, sign, result = operation(r, value if go_on else None)
        if go_on:
            question = {"plus": [f"Add {b}.", f"Plus {b}?", f"Now add {b}.", f"And plus {b}?", f"And {b} more?", f"Add {b} to it.", f"And if I add {b}?"],
                        "minus": [f"Take away {b}.", f"Minus {b}?", f"Now take away {b}.", f"And minus {b}?", f"Subtract {b} from it."],
                        "times": [f"Times {b}?", f"And times {b}?", f"Multiply it by {b}.", f"Now times {b}."]}[word]
        else:
            question = [f"What is {a} {word} {b}?", f"How much is {a} {word} {b}?", f"{a} {sign} {b}", f"What is {a} {sign} {b}?", f"{a} {word} {b}",
                        f"{a} {sign} {b} = ?", f"Can you tell me what {a} {word} {b} is?"] + ([f"And {a} {word} {b}?", f"And what is {a} {word} {b}?"] if i else [])
        turns += [r.choice(question), f"{a} {word} {b} is {result}."]
        value = result
    return turns


def word_problem(r):
    """A sum in words."""
    n, thing = r.choice(LISTS["name"]), r.choice("apples cookies books pencils stones coins cards balls eggs flowers".split())
    a, b = r.randint(2, 12), r.randint(1, 8)
    if r.random() < 0.5:
        return [r.choice([f"{n} has {a} {thing} and gets {b} more. How many {thing} does {n} have now?",
                          f"I have {a} {thing} and buy {b} more. How many do I have?"]), f"{a} plus {b} is {a + b}, so it is {a + b} {thing}."]
    a, b = max(a, b) + 1, min(a, b)
    return [r.choice([f"{n} has {a} {thing} and gives away {b}. How many are left?", f"I have {a} {thing} and lose {b}. How many are left?"]),
            f"{a} minus {b} is {a - b}, so {a - b} {'is' if a - b == 1 else 'are'} left."]


def fact(r):
    question, answer = r.choice(FACTS)
    return [tidy(choose(question, r)), tidy(choose(answer, r))]


def small_fact(r):
    """Opposites, colors, reasons, differences, counting."""
    kind = r.random()
    if kind < 0.3:
        x, y = r.choice(OPPOSITES)
        if r.random() < 0.5 and x not in ("old", "light", "short") and y not in ("light", "short"):
            x, y = y, x
        return [choose(f"{{What is the opposite of {x}?|What's the opposite of {x}?|Tell me the opposite of {x}.|Opposite of {x}?}}", r),
                f"The opposite of {x} is {y}."]
    if kind < 0.45:
        x, color = r.choice(COLORS)
        return [choose(f"{{What color is {x}?|What is the color of {x}?|Which color does {x} have?}}", r), f"{upper(x)} is {color}."]
    if kind < 0.7:
        x, why = r.choice(WHY)
        be = "are" if x in ("books", "trees", "friends", "bees") else "is"
        return [r.choice([f"Why {be} {x} important?", f"Why {be} {x} so important?", f"Tell me why {x} {be} important.", f"Why do we need {x}?",
                          f"What is good about {x}?"]), why]
    if kind < 0.92:
        a, b, text = r.choice(DIFFERENCES)
        return [r.choice([f"What is the difference between {a} and {b}?", f"What is the difference between {b} and {a}?", f"How are {a} and {b} different?",
                          f"How do {a} and {b} differ?"]), text]
    n = r.choice([3, 5, 10, 10, 12, 20])
    return [choose(f"{{Count to {n}.|Can you count to {n}?|Please count to {NUMBERS[n]}.}}", r), upper(", ".join(NUMBERS[1 : n + 1])) + "."]


def howto(r):
    """How to do something; sometimes with a question about one of the steps."""
    goal, steps = r.choice(HOWTO)
    way = r.choice([w for w in WAYS if "you [g]" not in w] if " my " in f" {goal} " else WAYS)
    turns = [way.replace("[g]", goal), choose("{||||Sure! |Of course! }", r) + steps]
    kind = r.random()
    sentences = [s.strip() + "." for s in steps.split(". ") if s.strip()]
    sentences = [s.replace("..", ".") for s in sentences]
    if kind < 0.15 and len(sentences) > 1:
        turns += [r.choice(["What do I do first?", "What is the first step?", "How do I start?", "Where do I begin?"]), "First: " + sentences[0]]
    elif kind < 0.3 and len(sentences) > 1:
        turns += [r.choice(["What is the last step?", "What comes at the end?", "And at the end?"]), "At the end: " + sentences[-1]]
    elif kind < 0.4:
        turns += [r.choice(["Is it hard?", "Is that difficult?", "Can I do that?"]),
                  r.choice(["No, it is not very hard. Take your time, and you can do it.", "It is easy with a little practice. Just try it!"])]
    return turns


def ideas(r):
    """Ideas for an occasion, as a sentence or a list."""
    occasions, things = r.choice(IDEAS)
    occasion, pool = r.choice(occasions.split("/")), things.split("; ")
    n = r.choice([2, 3, 3, 4, 5])
    picked = r.sample(pool, min(n + 2, len(pool)))
    if r.random() < 0.4:
        word = NUMBERS[n]
        turns = [choose(f"{{Give me {word} ideas for {occasion}.|Can you give me {word} ideas for {occasion}?|I need {word} ideas for {occasion}.|"
                        f"List {word} ideas for {occasion}.}}", r), "\n".join(f"{i + 1}. {x}." for i, x in enumerate(picked[:n]))]
    else:
        turns = [choose(f"{{I need an idea for {occasion}.|Do you have an idea for {occasion}?|Any ideas for {occasion}?|"
                        f"Can you suggest something for {occasion}?|What is good for {occasion}?}}", r),
                 r.choice([f"How about this: {picked[0].lower()}? Another idea is: {picked[1].lower()}.", f"One idea is: {picked[0].lower()}. Or maybe: {picked[1].lower()}."])]
        n = 2
    for extra in picked[n : n + r.choice([0, 0, 1, 2])]:
        turns += [r.choice(["Another one, please.", "Something else?", "Do you have another idea?", "One more?", "And another one?"]),
                  f"Sure! Here is another idea: {extra.lower()}."]
    return turns


def joke(r):
    """One to three different jokes."""
    first = "{Tell me a joke.|Can you tell me a joke?|Do you know a joke?|Make me laugh.|I want to hear a joke.|joke please|Tell me a funny joke.|Say something funny.}"
    more = "{Another one!|Tell me another joke.|Another joke, please.|One more!|Haha, another one!|Do you know another one?|A new one, please.|Give me a different joke.}"
    turns = []
    for i, (question, answer) in enumerate(r.sample(JOKES, r.choice([1, 1, 2, 2, 3]))):
        turns += [choose(more if i else first, r), choose("{|||Sure! |Here is one: }" if not i else "{|||Sure! |Here is another one: }", r) + f"{question} {answer}"]
    if r.random() < 0.12:
        turns += [r.choice(["I don't get it.", "That was not funny.", "I know that one."]),
                  r.choice(["Sorry, my jokes are very simple. Shall I tell you another one?", "Oh, sorry! Would you like another one?"])]
    return turns


def riddle(r):
    question, answer = r.choice(RIDDLES)
    bare = answer.removeprefix("a ").removeprefix("the ")
    wrong = r.choice([a for q, a in RIDDLES if a != answer])
    guess, said = r.choice([(answer, f"Yes, that is right! It is {answer}."), (f"Is it {answer}?", f"Yes, that is right! It is {answer}."),
                            (bare, f"Yes, that is right! It is {answer}."), ("I don't know.", f"The answer is {answer}."),
                            ("I give up.", f"The answer is {answer}."), ("Tell me the answer.", f"The answer is {answer}."),
                            (f"Is it {wrong}?", f"No, it is not {wrong}. The answer is {answer}.")])
    return [choose("{Tell me a riddle.|Do you know a riddle?|Give me a riddle.|Ask me a riddle.}", r), question, guess, said]


def poem(r):
    """Four lines about a thing."""
    t = r.choice(LISTS["topic"] + ["spring", "summer", "winter", "the moon", "the night", "love", "a friend", "my mother", "rain", "snow"])
    text = r.choice([f"{t} in the morning light,\n{t} in the quiet night.\nWhen I think of it, I smile,\nand I sit and dream a while.",
                     f"I wrote a song of {t} today,\nand sang it all along my way.\nIt made me laugh, it made me sing,\nwhat a small and lovely thing!",
                     f"A little word for {t},\nas gentle as can be.\nThe wind may blow, the rain may fall,\nit means so much to me.",
                     f"The sun goes up, the sun goes down,\nI think of {t} all over town.\nThe birds all sing, the flowers grow,\nand {t} is all I want to know."])
    return [choose(f"{{Write a poem about {t}.|Write a short poem about {t}.|Can you write a poem about {t}?|A poem about {t}, please.}}", r), upper(text)]


def thing(r):
    """What a thing is."""
    x, text = r.choice(THINGS)
    if r.random() < 0.25:
        w = re.sub("^(an?|the) ", "", x)
        return [choose(f"{{What does {w} mean?|What does the word {w} mean?|Explain the word {w}.|What is the meaning of {w}?}}", r), text]
    return [choose(f"{{What is {x}?|What's {x}?|Tell me about {x}.|Explain what {x} is.|Can you explain {x}?|Can you tell me what {x} is?|"
                   f"What is {x} for?|Describe {x}.|Please explain {x} in simple words.|What do you know about {x}?}}", r), text]
