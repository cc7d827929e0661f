"""Sentences that vocabularies are learnt from, and texts that tokenizers are
asked about."""

import itertools

PEOPLE = ["the baker", "a young teacher", "my neighbour", "the old sailor", "her cousin"]
DEEDS = ["counted", "carried", "repaired", "painted", "forgot", "is selling", "was looking for"]
THINGS = ["{} apples", "{} wooden chairs", "the letters of {}", "{} bottles of water",
          "a clock from {}", "house number {}"]
PLACES = ["near the river", "in the market", "on Tuesday morning", "before the rain began",
          "without saying a word"]
WHO = ["老师", "我的邻居", "小明", "那位医生", "他们"]
DOES = ["昨天买了", "正在找", "忘记了", "喜欢", "每天都看"]
WHAT = ["{}个苹果", "{}本书", "第{}号房子", "{}张旧照片", "城里的河"]


def sentences():
    """A few hundred sentences, English and Chinese, with numbers."""
    number = itertools.count(7, 13)
    for a, b, c in itertools.product(PEOPLE, DEEDS, THINGS):
        place = PLACES[(len(a) + len(b) + len(c)) % len(PLACES)]
        yield f"{a} {b} {c.format(next(number) % 2026)} {place}.".capitalize()
    for a, b, c in itertools.product(WHO, DOES, WHAT):
        yield f"{a}{b}{c.format(next(number) % 399)}。"


TEXTS = [
    "The baker carried 17 apples near the river.",
    "the",
    "Baker",
    "carrying counters and chairs",
    "a b c",
    " leading space",
    "   three leading spaces",
    "trailing space ",
    "trailing spaces    ",
    "two  spaces   three    four",
    " ",
    "  ",
    "                                        ",
    "one line\nand another",
    "\n",
    "\n\n",
    "a\n\n\nb\n\n\n\n\n\n\nc",
    "  \n  \n  ",
    "a\ttab and\t\ttwo",
    "\t",
    "Windows\r\nlines\r\n",
    "老师昨天买了12个苹果。",
    "小明喜欢城里的河",
    "龘靐齉",
    "小明 likes 苹果 and 3 books，你呢？",
    "0123456789",
    "3.14159, 1,000,000 and -273.15",
    "٣ ４ Ⅷ ½",
    "😀",
    "👩‍👩‍👧 family, 🇨🇳 flag, 👍🏽 thumb",
    "café and cafe\u0301, naïve, Straße, ĳ",
    "Привет, мир! שלום 안녕 สวัสดี",
    "aaaaaaaaaaaaaaaaaaaaaaa",
    "erererererer thethethe",
    "ABC xyz XYZ abc",
    "snake_case camelCase kebab-case /path/to/file.txt?x=1&y=2",
    "let x = vec![1u8; 4]; // {}",
    "a▁b ▁c",
    "zero\u200bwidth, no\u00a0break, ideographic\u3000space",
    "<0x41> is no byte, and <b>bold</b> is no bold",
    "…“quotes” — dashes–and… dots",
    "It was raining. " * 6,
    "他们每天都看第100号房子，before the rain began，然后忘记了the letters of 1999。\n",
    "\U00010348\U0001d539\u0000end",
]

# Chinese, and Chinese mixed with other scripts, numbers and signs.
MIXED = [
    "春天来了，河边的柳树又绿了，孩子们在草地上放",
    "我每天早上七点半起床，然后去公司上班。",
    "这台机器的重量是 12.5 公斤，价格为￥3,980。",
    "请把文件 report_2024.pdf 发到 office@example.org，谢谢！",
    "他说：“明天见。”她却没有回答……",
    "Python 里的 list 和 tuple 有什么不同？",
    "北京、上海与廣州的天氣不一樣；臺灣則常下雨。",
    "東京タワーの高さは333メートルです。",
    "서울은 비가 오고, 北京 is sunny ☀️。",
    "第1章\n\n　　从前有座山，山里有座庙。\n",
    "数学：∑ᵢ xᵢ² ≤ √n·‖x‖，其中 n＝１２３",
    "生僻字：龘、𠮷、㐂、𪚥，还有 emoji 🐼🀄️",
    "def 加(甲, 乙):\n    return 甲 + 乙  # 求和\n",
    "中文English混排without空格1234测试",
    "    缩进四格\t制表符  两个空格   三个空格",
]

# Longer than Gemma 3 270m's window of 512 tokens.
WINDOW = "".join(
    f"On day {day} the gardener planted {day * 7 % 40 + 3} rows of beans, and in the evening "
    f"she wrote the number {day * 7 % 40 + 3} in her notebook. " for day in range(1, 20)
) + "On day 20 the gardener planted"
