"""Short stories: a hero, a plot of `data/stories.txt`, and pronouns that stay the same to the end."""

import re

from .expand import LISTS, article, choose, lines, table, tidy, upper

HEROES = [(noun, home, kind) for noun, home, kind in table("heroes.txt", 3)]
PRONOUNS = {"m": ("he", "him", "his"), "w": ("she", "her", "her")}
QUALITIES = "little young shy kind curious brave gentle playful clever cheerful funny quiet".split()
PLACES = {"in a library": "One day in the library", "on a farm": "One day on the farm", "at the market": "One day at the market",
          "in a big city": "One day in the city", "in the forest": "One day in the forest", "in the park": "One day in the park",
          "on a train": "One day on the train", "in the kitchen": "One morning in the kitchen", "at night": "Late one night",
          "in spring": "One spring morning", "in autumn": "One autumn day", "on a windy day": "One windy day",
          "in the mountains": "One day in the mountains", "in a toy shop": "One evening in the toy shop",
          "in a museum": "One day in the museum", "on an island": "One day on the island"}
DAYS = ["One day", "One sunny morning", "One afternoon", "One cold evening", "One fine day", "One quiet evening"]
ASK = ["Tell me a {|short |little |nice |bedtime }story about S{.|, please.|}", "Write a {|short |little }story about S{.|, please.|}",
       "Can you tell me a {|short }story about S?", "Make up a story about S{.|}", "I would like {to hear |}a story about S{.|}",
       "Please {tell|write} a {|short |tiny }story about S.", "{A|One} {|short }story about S{, please|}.", "Do you know a story about S?",
       "I want a {|bedtime }story about S.", "Could you write a story about S?", "tell me a story about S", "Tell a story about S."]
ANY = ["Tell me a {|short |nice |bedtime |little }story{.|, please.|}", "Can you tell me a {|short |bedtime }story?", "I want to hear a story.",
       "Write a {|short }story.", "Do you know a story?", "story please", "I would like a story.", "Make up a story for me."]
PLOTS = []
for _line in lines("stories.txt"):
    _tails, _variables, _body, _happened, _moral = (part.strip() for part in _line.split("||"))
    _lists = dict(v.split("=") for v in _variables.split("; ")) if _variables else {}
    PLOTS.append(([t.strip() for t in _tails.split(";")], {k: v.split(",") for k, v in _lists.items()}, _body, _happened, _moral))


def hero(r, kinds="amwt"):
    """A hero: noun, home, name and pronouns. Animals and things are he or she, like the name."""
    noun, home, kind = r.choice([h for h in HEROES if h[2] in kinds])
    sex = kind if kind in "mw" else r.choice("mw")
    return dict(noun=noun, home=home, kind=kind, name=r.choice(LISTS["boy" if sex == "m" else "girl"]), words=PRONOUNS[sex])


def write(text, a, b, day, values, r):
    """A text of a plot with its slots filled: a the hero, b the friend."""
    text = choose(text, r)
    he, him, his = a["words"]
    slots = {"N": a["name"], "B": a["noun"], "he": he, "him": him, "his": his, "He": upper(he), "His": upper(his), "M": b["name"],
             "F": article(b["noun"]), "Fc": upper(article(b["noun"])), "f": b["noun"], "day": day, "xa": article(values.get("x", "x"))}
    slots.update(values)
    return tidy(re.sub(r"<(\w+)>", lambda m: slots[m.group(1)], text))


def ending(a, r):
    he = upper(a["words"][0])
    return r.choice(["", "", "", f"{a['name']} never forgot that day.", f"That night, {a['name']} fell asleep with a smile.",
                     f"{he} was very happy.", "And that is the end of the story."])


def tell(r, plot=None):
    """One story: request, story, and what can be asked about it later (question, answer)."""
    tails, variables, body, happened, moral = plot or r.choice(PLOTS)
    a = hero(r)
    b = hero(r, "a" if a["kind"] == "a" else "amw")
    while b["noun"] == a["noun"] or b["name"] == a["name"]:
        b = hero(r, "amw")
    values = {k: r.choice(v) for k, v in variables.items()}
    quality = r.choice(QUALITIES) if r.random() < 0.35 else ""
    if a["noun"] == "ghost" and "ghost" in happened:
        quality = "friendly"
    described = article(f"{quality} {a['noun']}".strip())
    place = r.choice(list(PLACES)) if r.random() < 0.25 else ""
    day = PLACES.get(place, r.choice(DAYS))

    tail = r.choice(tails)
    named = r.random() < (0.5 if a["kind"] in "mw" else 0.2)
    subject = described + (r.choice([" named ", " called "]) + a["name"] if named else "")
    ask = r.random()
    if ask < 0.08:
        request = choose(r.choice(ANY), r)
    else:
        about = subject
        if ask < 0.72:
            if a["kind"] not in "mw":
                tail = tail.replace("<his>", "its")
            tail = write(tail, a, b, day, values, r)
            about += " " + tail
        elif ask < 0.82:
            about += f" and {article(b['noun'])}"
        elif place:
            about += " " + place
        elif ask >= 0.92 and any(t.startswith(("and ", "in ", "on ", "at ", "by ")) for t in tails):
            bare = r.choice([t for t in tails if t.startswith(("and ", "in ", "on ", "at ", "by "))])
            about = write(bare, a, b, day, values, r).removeprefix("and ").replace("in the rain", "the rain").replace("in winter", "winter")
            about = re.sub("^(in|on|at|by) ", "", about)
        request = ask_for(about, r)
        if "that is funny" in request or "that makes me laugh" in request:
            request = ask_for(about.replace(" that is funny", "").replace(" that makes me laugh", ""), r, "funny ")
    start = choose(r.choice(["Once upon a time, there was", "Once there was", "There once lived", "There was once"]), r)
    home = f"{upper(a['words'][0])} lived {a['home']}. " if r.random() < 0.6 else ""
    story = f"{start} {described} named {a['name']}. {home}" + write(body, a, b, day, values, r) + " " + ending(a, r)
    lead = r.choice(["", "", "", "", "Sure! ", "Here is a story for you. ", "Of course! "])
    happened = upper(write(happened, a, b, day, values, r))
    name = a["name"]
    later = [
        (r.choice(["What is the moral of the story?", "What can we learn from this story?", "What is the lesson?"]), f"The moral is: {moral}"),
        (r.choice(["Who was the hero of the story?", "Who is the story about?", "Who was the main person?"]),
         f"The story is about {name}, {described}."),
        (r.choice(["What was the name of the hero?", f"What was the {a['noun']} called?", f"What was the {a['noun']}'s name?"]),
         r.choice([f"The name was {name}.", f"The {a['noun']} was called {name}."])),
        (r.choice(["What happened in the story?", "Can you sum it up?", "Can you make it shorter?", "Summarize the story.",
                   "Tell it in one sentence.", "What was it about?"]), happened),
        (r.choice([f"Who is {b['name']}?", f"Who was {b['name']}?"]), f"{b['name']} is {article(b['noun'])} in the story."),
        (r.choice(["Who else was in the story?", f"Who did {name} meet?", f"Whom did {name} meet?", "Who was the friend?"]),
         f"It was {b['name']}, {article(b['noun'])}."),
        (r.choice(["I like it!", "That was nice.", "What a nice story!", "Beautiful!", "Good story.", "I liked that story."]),
         r.choice(["I am glad you liked it! Would you like to hear another one?", "Thank you! Shall I tell you another story?"])),
        (r.choice(["What happened next?", "And then?", "Continue the story.", "How does it go on?"]),
         f"The next day, {name} and {b['name']} met again. They talked about what had happened, and they had a lot of fun together. "
         f"And {name} was very happy."),
        (r.choice([f"How did {name} feel?", f"How did {name} feel at the end?", "How did the story end?"]),
         f"In the end, {name} was happy. {happened}"),
    ]
    return request, tidy(lead + story), later


def ask_for(about, r, kind=""):
    """A request for a story about something."""
    text = choose(r.choice(ASK), r)
    text = re.sub(r"\bS\b", lambda m: about, text, count=1)
    return text.replace("story", kind + "story", 1).replace("a little funny", "a funny") if kind else text


def conversation(r):
    request, story, later = tell(r)
    turns = [request, story]
    if r.random() < 0.45:
        for question, answer in r.sample(later, r.choice([1, 1, 2])):
            turns += [question, answer]
    if r.random() < 0.08:
        _, second, _ = tell(r)
        turns += [choose("{Another one|Tell me another story|One more story|Another story, please}{.|!}", r), second]
    return turns


# Stories with two heroes, told with "they".
PAIRS = [("brothers", "boy", "boy"), ("sisters", "girl", "girl"), ("friends", "girl", "boy"), ("children", "boy", "girl"), ("twins", "girl", "boy")]
PAIR_PLOTS = [
    ("a {tree house|snow castle|small boat|cave of blankets}", "One day, they wanted to build X. A said, \"I will be the boss.\" B said, \"No, I will!\" They argued "
     "until it got dark, and nothing was built. The next day, they were sorry. A made the plan, and B brought what they needed. In the "
     "evening, X was ready, and they sat side by side and laughed."),
    ("a {lost kitten|little bird|hungry puppy|baby hedgehog}", "One cold day, they found X near their house. \"It needs help,\" said A. B got a box with a warm blanket, "
     "and A brought water and food. After a few days it was strong again. \"It can stay with us,\" said their mother, and they jumped for joy."),
    ("a {treasure|hidden door|secret garden|golden key}", "One afternoon, they heard about X in the old park. A was brave and went first, and B carried a lamp. They "
     "looked behind every tree and under every stone. At last B called, \"Here it is!\" They held hands and smiled. It was the best day of the summer."),
    ("a {magic hat|talking crow|friendly giant|tiny dragon}", "One morning, they met X on the way to school. \"You have one wish,\" it said. A wanted sweets, and B wanted toys. "
     "Then they saw an old woman who was cold. They looked at each other. \"Please give her a warm coat,\" they said. And so it happened."),
    ("a {big storm|rainy day|long winter|dark night}", "They lived in a small house, and they were often bored during X. \"Let us tell stories,\" said A. A told about "
     "pirates, and B told about the moon. They laughed so much that they forgot the time. When they looked out of the window, the sun was shining."),
]


def pair(r):
    """A story about two children."""
    noun, one, two = r.choice(PAIRS)
    a, b = r.sample(LISTS[one], 2) if one == two else (r.choice(LISTS[one]), r.choice(LISTS[two]))
    about, body = r.choice(PAIR_PLOTS)
    about = choose(about, r)
    request = ask_for(r.choice([f"two {noun} and {about}", f"two {noun}", f"two {noun}, {a} and {b}", f"two {noun} named {a} and {b}"]), r)
    story = re.sub(r"\b[ABX]\b", lambda m: {"A": a, "B": b, "X": about}[m.group(0)], body).replace(f"{about} was ready", re.sub("^an? ", "the ", about) + " was ready")
    turns = [request, f"{r.choice(['Once upon a time, there were', 'Once there were', 'There once lived'])} two {noun} named {a} and {b}. {story}"]
    if r.random() < 0.3:
        turns += [r.choice(["What were their names?", f"What were the {noun} called?", "Who is the story about?"]), f"The two {noun} were called {a} and {b}."]
    return turns
