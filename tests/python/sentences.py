"""Texts of many languages, lengths and odd characters: what tokenizers are trained on, and what models are asked."""

import random

SEED = 20261124

# The same three thoughts in each language; word order, scripts and spacing are what differ.
PROSE = (
    "The river rose during the night and carried the bridge away. Who will pay for a new one? Nobody knows, not even the mayor.",
    "Der Fluss stieg in der Nacht und riss die Brücke mit. Wer bezahlt eine neue? Das weiß niemand, nicht einmal der Bürgermeister.",
    "La rivière a monté pendant la nuit et a emporté le pont. Qui paiera le nouveau ? Personne ne le sait, pas même le maire.",
    "El río creció durante la noche y se llevó el puente. ¿Quién pagará uno nuevo? Nadie lo sabe, ni siquiera el alcalde.",
    "O rio subiu durante a noite e levou a ponte. Quem pagará uma nova? Ninguém sabe, nem mesmo o prefeito.",
    "Il fiume è salito durante la notte e ha portato via il ponte. Chi pagherà quello nuovo? Nessuno lo sa, nemmeno il sindaco.",
    "De rivier steeg in de nacht en sleurde de brug mee. Wie betaalt een nieuwe? Niemand weet het, zelfs de burgemeester niet.",
    "Älven steg under natten och tog med sig bron. Vem betalar för en ny? Ingen vet, inte ens borgmästaren.",
    "Rzeka wezbrała w nocy i zabrała most. Kto zapłaci za nowy? Nikt tego nie wie, nawet burmistrz.",
    "Řeka v noci stoupla a odnesla most. Kdo zaplatí nový? Nikdo neví, ani starosta.",
    "A folyó az éjjel megáradt, és elvitte a hidat. Ki fizet egy újat? Senki sem tudja, még a polgármester sem.",
    "Joki nousi yöllä ja vei sillan mukanaan. Kuka maksaa uuden? Kukaan ei tiedä, ei edes pormestari.",
    "Nehir gece yükseldi ve köprüyü götürdü. Yenisini kim ödeyecek? Kimse bilmiyor, İstanbul'daki belediye başkanı bile.",
    "Sông dâng lên trong đêm và cuốn trôi cây cầu. Ai sẽ trả tiền cho cây cầu mới? Không ai biết, kể cả thị trưởng.",
    "Река поднялась ночью и унесла мост. Кто заплатит за новый? Никто не знает, даже мэр.",
    "Ріка піднялася вночі й забрала міст. Хто заплатить за новий? Ніхто не знає, навіть мер.",
    "Το ποτάμι φούσκωσε τη νύχτα και πήρε τη γέφυρα. Ποιος θα πληρώσει μια καινούργια; Κανείς δεν ξέρει, ούτε ο δήμαρχος.",
    "הנהר עלה בלילה וסחף את הגשר. מי ישלם על גשר חדש? איש אינו יודע, אפילו לא ראש העיר.",
    "ارتفع النهر في الليل وجرف الجسر. من سيدفع ثمن جسر جديد؟ لا أحد يعرف، ولا حتى رئيس البلدية.",
    "رودخانه شب بالا آمد و پل را با خود برد. چه کسی پول پل تازه را می‌دهد؟ هیچ‌کس نمی‌داند، حتی شهردار.",
    "नदी रात में चढ़ गई और पुल को बहा ले गई। नया कौन बनवाएगा? कोई नहीं जानता, महापौर भी नहीं।",
    "নদী রাতে ফুলে উঠে সেতুটি ভাসিয়ে নিয়ে গেল। নতুনটির দাম কে দেবে? কেউ জানে না, মেয়রও না।",
    "ஆறு இரவில் பெருகிப் பாலத்தை அடித்துச் சென்றது. புதியதற்கு யார் பணம் தருவார்? யாருக்கும் தெரியாது.",
    "แม่น้ำขึ้นสูงในตอนกลางคืนและพัดสะพานไป ใครจะจ่ายค่าสะพานใหม่ ไม่มีใครรู้ แม้แต่นายกเทศมนตรี",
    "河水在夜里上涨，冲走了桥。谁来付新桥的钱？没有人知道，连市长也不知道。",
    "夜のうちに川が増水し、橋を流してしまった。新しい橋の代金は誰が払うのか。市長でさえ知らない。",
    "강물이 밤새 불어나 다리를 쓸어 갔다. 새 다리 값은 누가 낼까? 시장조차 모른다.",
    "მდინარე ღამით ადიდდა და ხიდი წაიღო. ვინ გადაიხდის ახლის ფულს? არავინ იცის, მერმაც კი.",
    "Գետը գիշերը բարձրացավ ու տարավ կամուրջը։ Ո՞վ կվճարի նորի համար։ Ոչ ոք չգիտի, նույնիսկ քաղաքապետը։",
    "ወንዙ በሌሊት ሞልቶ ድልድዩን ወሰደው። አዲሱን ማን ይከፍላል? ማንም አያውቅም።",
    "Mto ulipanda usiku ukachukua daraja. Nani atalipia jipya? Hakuna anayejua, hata meya.",
    "Áin hækkaði um nóttina og tók brúna. Hver borgar nýja? Enginn veit það, ekki einu sinni borgarstjórinn.",
)

# What goes wrong in tokenizers: nothing, blanks, unseen and invisible characters, composed and decomposed forms.
ODD = (
    "", " ", "\t\n ", "a", "?", "...", "\u00a0\u2003\u3000", "word\x00word", "\x01\x02bell\x07\x1b[31m", "\x7f\x80\x9f",
    "cafe\u0301 re\u0301sume\u0301", "café résumé", "Z\u0351\u036b\u0343a\u0300\u0301\u0302lgo", "\u0301", "ﬁne ﬂow ①②½ ㎏",
    "🙂", "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪", "text🙂text", "\u200bzero\u200bwidth\ufeff", "left\u202eright\u202c", "ＦＵＬＬ　ｗｉｄｔｈ",
    "ﷺ", "ẞ ß ŉ ǰ", "İıIi", "Ǆǅǆ", "٣٫١٤ १२३ 一二三", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠀀", "\ue000\uf8ff", "\ufffd", "\U0010ffff",
    "[CLS] [SEP] [PAD] [MASK] [UNK]", "<s> </s> <pad> <mask> <unk>", "[cls]tight[sep]", "##ing ##", "▁under▁line", "Ġspace Ċline",
    "don't can't I'll we've", "U.S.A. e.g. 3.14 1,000,000 -5 +7 1e-10", "https://example.org/a?b=c&d=e#f user@example.org",
    "if (x<=y) { return a[i]+b*c; } // TODO", "<p>&amp;&nbsp;</p>", "\\n \\t \\u0041 \"quoted\" 'single' `back`", "—–‐‑ “” ‘’ « » …",
    "under_score camelCase snake_case kebab-case", "        eight blanks", "line one\nline two\r\nline three", "AAAAAAAAAA aaaaaaaaaa",
    "x" * 99, "x" * 100, "x" * 101, "ab" * 400, "好" * 60, "가" * 40, "ก" * 70, "é" * 101, "🙂" * 30, "1" * 150, "-" * 80,
)  # fmt: skip


def thoughts() -> list[str]:
    """Every sentence of the prose by itself."""
    return [part for text in PROSE for part in text.replace("? ", "?\n").replace("？", "？\n").replace(". ", ".\n").splitlines()]


def of_words(count: int, rng: random.Random) -> str:
    """A text of so many words, of several languages mixed."""
    return " ".join(rng.choices(words(), k=count))


def words() -> list[str]:
    return [word for text in PROSE for word in text.split()]


def mixed(count: int) -> list[str]:
    """So many different texts: the odd ones, sentences of every language, and mixtures of 1 to some 300 words."""
    rng = random.Random(SEED)
    rest = [*PROSE, *thoughts()]
    lengths = (1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35, 40, 45, 50, 55, 80, 120, 200, 300)
    long = [of_words(lengths[i % len(lengths)], rng) for i in range(count // 3)]
    rng.shuffle(rest)
    chosen = list(dict.fromkeys((*ODD, *long, *rest)))[:count]
    assert len(chosen) == count
    return chosen


def corpus() -> list[str]:
    """What the tokenizers of the seeded models are trained on: frequent words weigh more."""
    rng = random.Random(SEED)
    return [*PROSE, *PROSE[:9], *(of_words(12, rng) for _ in range(200))]
