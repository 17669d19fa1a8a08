"""The texts of the goldens, all written for them."""

STRINGS = [
    # Spaces and line ends, alone and around words.
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t", " \n", "\n ", " \n ", "  \n\n  x", "a\n", "a \n", "a  \nb",
    "a\r\nb\r\n\r\nc", "a\rb", "x\n\n\n\ny", " leading", "  two leading", "   three", "trailing ", "trailing  ", "a  b   c    d",
    " " * 63 + "x", "x" + " " * 64, " " * 200, "\n" * 40, "\t" * 9 + "end", " \t \t \t mixed", "\u00a0nbsp\u00a0\u00a0two",
    "\u3000ideographic\u3000space", "\u2003em\u2009thin\u200bzero", "\u2028line\u2029paragraph", "\u0085next line", "\v\f", "a\vb\fc",
    # Contractions in both cases, and what only looks like one.
    "I'm here, you're there, he's away, we've gone, they'll come, she'd stay, don't.",
    "I'M HERE, YOU'RE THERE, HE'S AWAY, WE'VE GONE, THEY'LL COME, SHE'D STAY", "'s 't 're 've 'm 'll 'd", "'S'T'RE'VE'M'LL'D",
    "'tis the season, rock'n'roll, o'clock, '90s", "it\u2019s a typographer\u2019s apostrophe", "''''", "'' 's''s", "dogs' tails", "\u017f '\u017f 'LL",
    # Digits.
    "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000.00", "-42", "+49 30 901820", "0x1F", "1e-9", "2026-11-23T07:15:00Z",
    "12 34 567", "a1b22c333d4444", "\u0661\u0662\u0663\u0664", "\u0967\u0968\u0969\u096a", "\uff11\uff12\uff13", "\u00bd \u00be \u2153", "\u00b2\u00b3", "\u2160\u2161\u2162", "\u2460\u2461", "1\u00bd2",
    "007", "x\u00b2 + y\u00b2 = z\u00b2", "100%", "$9.99", "5\u20ac", "\u00a3100", "1st 2nd 3rd", "192.168.0.1:8080", "v1.2.3-rc.4",
    # Punctuation.
    "!", "?!", "...", "\u2026", "--", "\u2014", "a\u2014b", "(parentheses)", "[brackets]", "{braces}", "<angle>", "\"quoted\"", "'single'", "`tick`", "``` fence",
    "a,b;c:d", "Wait... what?!", "/path/to/file.txt", "C:\\Users\\me\\file.doc", "https://example.org/a?b=c&d=e#f", "me@example.org", "#hashtag @mention",
    "***", "* * *", "___", "~~~", "======", "a+b=c", "x!=y && z||w", "->", "=>", "<=>", "::", "!?\n!?\r\n!?", ".\n", "...\n\n...", "\u00bfQu\u00e9? \u00a1Ya!",
    # English.
    "Hello", "Hello, world!", "hello world", "HELLO WORLD", "HeLLo WoRLd", "The quick brown fox jumps over the lazy dog.",
    "A peregrine falcon in a dive is the fastest animal there is.", "Falcon", " Falcon", "falcons", "unreachable", " unreachable", "an unreachable goal",
    "antidisestablishmentarianism", "supercalifragilistic", "iPhone McDonald eBay", "co-operate re-enter well-known", "e.g. i.e. etc. Dr. Mr.",
    "It was a bright cold day, and the kettle was singing.\nNobody had lit the stove.\n\n\"Odd,\" said Anna.",
    "Dear Sir or Madam,\n\n    I write about the bicycle (blue, three gears).\n\nYours,\nB.", "ALL CAPS AND THEN lower", "camelCaseAndPascalCase", "snake_case_and-kebab-case",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababab", "zzzzqqqqxxxx", "lorem ipsum dolor", "I", "a", "I a I a I",
    # Other languages, a sentence or two each.
    "El zorro marr\u00f3n salta r\u00e1pido; \u00bfd\u00f3nde est\u00e1 el ni\u00f1o?", "Le c\u0153ur d\u00e9\u00e7u mais l'\u00e2me na\u00efve, d\u00e8s qu'il a fui.", "Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor quer \u00fcber den gro\u00dfen Deich. STRASSE stra\u1e9ee",
    "L'acqua \u00e8 pi\u00f9 fredda perch\u00e9 c'\u00e8 vento.", "A a\u00e7\u00e3o n\u00e3o p\u00e1ra: cora\u00e7\u00e3o, m\u00e3e, p\u00f5e.", "De kat zit in 't hoekje, ge\u00efnteresseerd.", "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148 \u00fap\u011bl.",
    "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144.", "\u00c5ngstr\u00f6m \u00f8re \u00e6ble s\u00e5 p\u00e5", "\u00deetta er \u00edslenska, \u00f0 og \u00fe.", "H\u00e4n osti j\u00e4\u00e4tel\u00f6\u00e4 y\u00f6ll\u00e4.", "\u00c1rv\u00edzt\u0171r\u0151 t\u00fck\u00f6rf\u00far\u00f3g\u00e9p.",
    "I\u015f\u0131k \u0130stanbul'da g\u00fczel, de\u011fil mi?", "Ti\u1ebfng Vi\u1ec7t c\u00f3 nhi\u1ec1u d\u1ea5u thanh.", "T\u00e1 s\u00e9 fuar inniu, a mhac.", "Kiswahili ni lugha ya Afrika Mashariki.", "\u1eb8 k\u00e1\u00e0\u00e1r\u1ecd\u0300",
    "\u0421\u044a\u0435\u0448\u044c \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f\u0433\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a.", "\u0421\u043e\u0431\u0430\u043a\u0430 \u0441\u043f\u0438\u0442. \u041a\u043e\u0442 \u043d\u0435\u0442.", "\u0407\u0436\u0430\u043a \u0454, \u0491\u0430\u043d\u043e\u043a \u0456 \u0441\u043e\u043d\u0446\u0435", "\u0413\u044a\u043b\u044a\u0431\u044a\u0442 \u043b\u0435\u0442\u0438",
    "\u0397 \u03b3\u03ac\u03c4\u03b1 \u03ba\u03bf\u03b9\u03bc\u03ac\u03c4\u03b1\u03b9 \u03c3\u03c4\u03bf\u03bd \u03ae\u03bb\u03b9\u03bf.", "\u05d4\u05d7\u05ea\u05d5\u05dc \u05d9\u05e9\u05df \u05e2\u05dc \u05d4\u05de\u05d8\u05d4.", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0627\u0644\u0642\u0637\u0629 \u062a\u0646\u0627\u0645 \u0641\u064a \u0627\u0644\u0634\u0645\u0633.", "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627 \u0628\u0650\u0643\u064f\u0645\u0652", "\u06af\u0631\u0628\u0647 \u0631\u0648\u06cc \u0645\u06cc\u0632 \u0627\u0633\u062a.", "\u0628\u0644\u06cc \u0635\u0648 \u0631\u06c1\u06cc \u06c1\u06d2",
    "\u092c\u093f\u0932\u094d\u0932\u0940 \u0927\u0942\u092a \u092e\u0947\u0902 \u0938\u094b\u0924\u0940 \u0939\u0948\u0964", "\u09ac\u09bf\u09a1\u09bc\u09be\u09b2 \u0998\u09c1\u09ae\u09be\u099a\u09cd\u099b\u09c7\u0964", "\u0baa\u0bc2\u0ba9\u0bc8 \u0ba4\u0bc2\u0b99\u0bcd\u0b95\u0bc1\u0b95\u0bbf\u0bb1\u0ba4\u0bc1.", "\u0c2a\u0c3f\u0c32\u0c4d\u0c32\u0c3f \u0c28\u0c3f\u0c26\u0c4d\u0c30\u0c2a\u0c4b\u0c24\u0c4b\u0c02\u0c26\u0c3f", "\u0d2a\u0d42\u0d1a\u0d4d\u0d1a \u0d09\u0d31\u0d19\u0d4d\u0d19\u0d41\u0d28\u0d4d\u0d28\u0d41",
    "\u0e41\u0e21\u0e27\u0e19\u0e2d\u0e19\u0e2b\u0e25\u0e31\u0e1a\u0e1a\u0e19\u0e40\u0e01\u0e49\u0e32\u0e2d\u0e35\u0e49", "\u1000\u103c\u1031\u102c\u1004\u103a", "\u1786\u17d2\u1798\u17b6", "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d", "\u10d9\u10d0\u10e2\u10d0 \u10e1\u10eb\u10d8\u10dc\u10d0\u10d5\u10e1", "\u053f\u0561\u057f\u0578\u0582\u0576 \u0584\u0576\u0578\u0582\u0574 \u0567:", "\u12f5\u1218\u1275 \u1270\u129d\u1277\u120d\u1362",
    "\u732b\u5728\u6905\u5b50\u4e0a\u7761\u89c9\u3002", "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u662f2026\u5e7411\u670823\u65e5\u3002", "\u8c93\u5728\u7761\u89ba\uff0c\u4e0d\u8981\u5435\u3002", "\u543e\u8f29\u306f\u732b\u3067\u306a\u3044\u3002\u540d\u524d\u306f\u3042\u308b\u3002", "\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a", "\uff76\uff9e\uff77\uff9e\uff78\uff9e", "\uc548\ub155\ud558\uc138\uc694, \uace0\uc591\uc774\uac00 \uc790\uc694.", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    # Code and markup.
    "def f(x, *, y=1):\n    \"\"\"Adds.\"\"\"\n    return x + y  # sum\n", "for (int i = 0; i < 10; ++i) {\n\tprintf(\"%d\\n\", i);\n}\n",
    "fn main() -> Result<(), Box<dyn Error>> {\n    let v: Vec<_> = (0..10).collect();\n    Ok(())\n}", "const f = async (x) => { await g(`${x}`); };",
    "SELECT a, COUNT(*) FROM t WHERE b >= 3 GROUP BY a;", "<div class=\"a\" id='b'>text &amp; more<br/></div>", "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"d\"}}",
    "#!/bin/sh\nset -eu\ngrep -rn 'x' . | sort | uniq -c\n", "if a:\n        if b:\n                pass\n", "\tif (x)\r\n\t\ty();\r\n", "x = {'k': [i**2 for i in range(10) if i % 2]}",
    "#include <stdio.h>\n\nint main(void) { return 0; }\n", "public static void main(String[] args) {}", "\\begin{align}\n  E &= mc^2 \\\\\n  \\nabla \\cdot \\mathbf{E} &= \\frac{\\rho}{\\varepsilon_0}\n\\end{align}",
    "$\\sum_{i=1}^{n} x_i^2 \\le \\int_0^\\infty e^{-t}\\,dt$", "# Title\n\n- one\n- two\n  - nested\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "**bold** _it_ `code` [link](http://x.y)",
    "key: value\nlist:\n  - a\n  - b\n", "diff --git a/x b/x\n@@ -1,2 +1,2 @@\n-old\n+new\n", "\u001b[31mred\u001b[0m", "\\u0041 \\x41 \\101 \\n", "%s %d %5.2f %%", "let s = r#\"raw \"quoted\"\"#;",
    "ACGTACGTTAGC", "H\u2082O + CO\u2082 \u2192 H\u2082CO\u2083", "\u2200x\u2208\u211d: x\u00b2\u22650", "\u222b\u2080\u00b9 f(x) dx \u2248 0.5 \u00b1 0.01", "A \u2229 B \u2286 C \u222a D",
    # Emoji, joiners, marks, directions, and characters without a shape.
    "\U0001f600", "\U0001f600\U0001f601\U0001f602", "I \u2764\ufe0f you", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f3f3\ufe0f\u200d\U0001f308", "1\ufe0f\u20e3", "\U0001f426", "a\U0001f426b", "\U0001f426\U0001f426",
    "e\u0301 \u00e9", "n\u0303o", "Z\u0351\u036b\u0343a\u0328l\u0334g\u0321o\u0315", "\u200e\u200f\u202a\u202e\u202c", "\ufeffBOM", "soft\u00adhyphen", "\u0000", "a\u0000b", "\u0001\u0002\u0003", "\u007f\u0080\u009f", "\ufffd", "\uffff", "\U0010ffff", "\ue000\uf8ff",
    "\U0001d4d0\U0001d4d1\U0001d4d2 \U0001d7ce\U0001d7cf", "\ufb01 \ufb02 \u0133", "\u212b \u2126 \u00b5", "\u0130\u0131", "\U00020000\U0002a6d6", "\U00012000\U00013000",
    # Control tokens and their neighbours.
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|begin_of_text|>Once", "a<|im_end|>b", " <|im_end|> ", "<|im_end|><|im_end|>", "<|im_end|", "|im_end|>", "<|im_END|>", "< |im_end|>",
    "<<|im_end|>>", "<|<|im_end|>|>", "say <|end_of_text|> aloud", ">>TITLE<< A tale", ">TITLE<", ">>TITLE", "<|pad|><|pad|>", "<tool_call>{\"name\": \"f\"}</tool_call>", "<tool_call", " <tool_call> ", "<|fim|>x", "a <|fim|><|im_start|> b",
    "the weekend is near", "weekend",
]

# More text for the small vocabulary, so that it has some words of its own.
TRAINING = [
    "The falcon sat on the tower and looked over the town. It had sat there all morning, and the pigeons knew it.",
    "When the wind turned, the falcon opened its wings and was gone, and the town went on with its day.",
    "There are three things that one should know about the sea: it is deep, it is cold, and it does not care.",
    "for i in range(10):\n    print(i)\n\nfor j in range(20):\n    print(j)\n", "int main(void) {\n    return 0;\n}\n",
    "What is the capital of France? The capital of France is Paris. What is the capital of Italy? It is Rome.",
    "\u0421\u043e\u0431\u0430\u043a\u0430 \u0438 \u043a\u043e\u0442 \u0441\u043f\u044f\u0442 \u043d\u0430 \u0441\u043e\u043b\u043d\u0446\u0435, \u0430 \u043f\u0442\u0438\u0446\u0430 \u043f\u043e\u0451\u0442.", "\u732b\u548c\u72d7\u5728\u592a\u9633\u4e0b\u7761\u89c9\u3002\u9e1f\u5728\u5531\u6b4c\u3002",
] * 3

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather in a place, \u201cnow\u201d & <soon>",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "Town or city, e.g. K\u00f6ln"},
            "days": {"type": "integer", "minimum": 1, "default": 1}, "exact": {"type": "boolean", "default": False}}, "required": ["place"]}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds two numbers", "parameters": {
            "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}}},
]


def chat(*turns, **more):
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


CALL = {"role": "assistant", "content": "Let me look.", "tool_calls": [
    {"type": "function", "function": {"name": "get_weather", "arguments": {"place": "K\u00f6ln", "days": 2, "exact": True, "note": None}}},
    {"type": "function", "function": {"name": "add", "arguments": "{\"a\": 1, \"b\": 2.5}"}}]}

CONVERSATIONS = [
    chat(("user", "Hello")),
    chat(("user", "")),
    chat(("user", "  spaces around  ")),
    chat(("user", "\nline\nends\r\n\n")),
    chat(("system", "You are a falcon."), ("user", "What do you see?")),
    chat(("system", "  You are terse.\n"), ("user", "Hi!"), ("assistant", "Hi."), ("user", "Bye!")),
    chat(("user", "2+2?"), ("assistant", "4"), ("user", "and 3+3?"), ("assistant", "6"), ("user", "sum?")),
    chat(("user", "Write code"), ("assistant", "```python\ndef f(x):\n    return x\n```"), ("user", "thanks")),
    chat(("user", "\u4f60\u597d"), ("assistant", "\u4f60\u597d\uff01\U0001f600"), ("user", "\u0645\u0631\u062d\u0628\u0627")),
    chat(("user", "think"), ("assistant", "<think>\nhm\n</think>\n\nanswer"), ("user", "again")),
    chat(("user", "think"), ("assistant", "<think>hm</think>answer")),
    chat(("user", "{{ messages }} {% if x %} {# not a comment #}")),
    chat(("user", "quotes \" ' and \\ and <b>&amp;</b>")),
    chat(("user", "What's 'it'?"), ("assistant", "I'm sure it's IT'S.")),
    chat(("user", "weather?"), tools=True),
    chat(("system", "Use tools."), ("user", "weather?"), tools=True),
    {"messages": [{"role": "user", "content": "weather?"}, CALL, {"role": "tool", "content": "{\"t\": 7}"}, {"role": "user", "content": "so?"}], "tools": True},
    {"messages": [{"role": "user", "content": "x"}, {**CALL, "content": None}, {"role": "tool", "content": "7"}], "tools": True},
    {"messages": [{"role": "user", "content": "x"}, {**CALL, "content": ""}, {"role": "tool", "content": "7"}, {"role": "assistant", "content": "Seven."}]},
    chat(("user", "a"), ("narrator", "b")),
    chat(("user", "a"), ("system", "too late")),
    chat(("system", "only a system message")),
    chat(("assistant", "I begin."), ("user", "Do you?")),
    chat(*[(role, f"turn {i}") for i in range(12) for role in ("user", "assistant")]),
]
