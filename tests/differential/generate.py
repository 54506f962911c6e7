"""Makes cases from a seed: contexts with every kind of file, ignore files, trees made by RUN, COPY and ADD of them. Pure.

Each choice is made by one random.Random, so a seed is a case for good, until this file changes; what was found
interesting is therefore kept as a whole in `corpus/`.
"""

from __future__ import annotations

from random import Random

from differential.cases import Case, Item

NAMES = ("a", "b.txt", "c.log", "d", "e", ".hid", "sp ace", "ü", "x[1]", "README.md")
MODES = (0o644, 0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o000)
DIR_MODES = (0o755, 0o755, 0o700, 0o1777, 0o2755, 0o711, 0o555)
OWNERS = ("1", "5:6", "daemon", "0:0", "daemon:0", "7:daemon", "root", "nosuch", ":3")
CHMODS = ("644", "0755", "600", "4711", "1777", "0", "7", "2750")
OLDEST = 946_684_800  # 2000; nobody sets times after 2020, so what is later was set by a clock
NEWEST = 1_577_836_800


class Generator:
    """One case in the making."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"differential {seed}")

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def time(self) -> int:
        return self.random.randrange(OLDEST, NEWEST)

    def case(self) -> Case:
        context = self.tree()
        kind = self.random.random()
        if kind < 0.2:
            text = self.words()
        else:
            text = self.copies(context, on_scratch=kind < 0.45)
        if self.maybe(0.35):
            context = [*context, Item(".dockerignore", "file", self.ignore(context), mtime=self.time())]
        return Case(str(self.seed), text, tuple(context), self.arguments())

    # contexts

    def tree(self) -> list[Item]:
        """A context of up to a dozen entries, directories before what is in them."""
        items: list[Item] = []
        folders = [""]
        for _ in range(self.random.randrange(2, 13)):
            above = self.random.choice(folders)
            path = f"{above}/{self.one(*NAMES)}".lstrip("/")
            if any(item.path == path for item in items):
                continue
            item = self.item(path, items)
            items.append(item)
            if item.kind == "dir" and path.count("/") < 3:
                folders.append(path)
        return items

    def item(self, path: str, others: list[Item]) -> Item:
        files = [item.path for item in others if item.kind == "file"]
        kind = self.random.random()
        if kind < 0.35:
            return Item(path, "dir", mode=self.random.choice(DIR_MODES), mtime=self.time())
        if kind < 0.5:
            return Item(path, "link", self.link_target(path, others), mode=0o777, mtime=self.time())
        if kind < 0.56 and files:
            source = self.random.choice(files)
            same = next(item for item in others if item.path == source)
            return Item(path, "hard", source, mode=same.mode, mtime=same.mtime)
        if kind < 0.65:
            return Item(
                path, "tgz" if self.maybe(0.4) else "tar", mode=0o644, mtime=self.time(), members=self.members()
            )
        return Item(path, "file", self.one("", "one\n", "two two\n", "x" * 70), self.random.choice(MODES), self.time())

    def link_target(self, path: str, others: list[Item]) -> str:
        names = [item.path for item in others] or ["a"]
        up = "../" * path.count("/")
        return self.one(
            up + self.one(*names), "/" + self.one(*names), self.one(*names), "nowhere", ".", "..", "../../a"
        )

    def members(self) -> tuple[Item, ...]:
        """An archive: entries may come twice, without their directories, below links, and as `.`."""
        found: list[Item] = []
        for _ in range(self.random.randrange(0, 6)):
            path = self.one("m", "n/o", "n", "./p", "q/r/s", ".", "d/a", "l", "l/below", "n/")
            kind = self.random.random()
            owner = self.random.choice((0, 0, 9))
            if path in (".", "n", "n/") or kind < 0.2:
                found.append(Item(path, "dir", "", self.random.choice(DIR_MODES), self.time(), owner))
            elif kind < 0.4 or path == "l":
                found.append(Item(path, "link", self.one("n", "m", "/n", "..", "gone"), 0o777, self.time(), owner))
            elif kind < 0.5 and any(item.kind == "file" for item in found):
                first = next(item for item in found if item.kind == "file")
                found.append(Item(path, "hard", first.path, first.mode, first.mtime, first.owner))
            else:
                text = self.one("", "member\n")
                found.append(Item(path, "file", text, self.random.choice(MODES), self.time(), owner))
        return tuple(found)

    def ignore(self, context: list[Item]) -> str:
        names = [item.path for item in context] or ["a"]
        lines = []
        for _ in range(self.random.randrange(1, 5)):
            name = self.one(*names)
            first = name.partition("/")[0]
            lines.append(self.one(
                name, f"/{name}", f"{first}/*", f"{first}/**", "*.log", "**/*.txt", f"!{name}", f"!{first}/*", "*",
                "**/a", f"{name}/", "# comment", "?", f"./{name}", "!**/e", "",
            ))  # fmt: skip
        return "\n".join(lines) + "\n"

    # COPY and ADD

    def copies(self, context: list[Item], *, on_scratch: bool) -> str:
        lines = []
        made = False
        if on_scratch:
            lines.append("FROM scratch")
        else:
            lines.append("FROM busybox AS made")
            lines.append(f"RUN {self.made_tree()}")
            made = True
            if self.maybe(0.5):
                lines.append("FROM busybox")
                lines.append(f"RUN {self.made_tree()}")
        if self.maybe(0.3):
            lines.append(f"WORKDIR {self.one('/w', '/w/d', 'rel', '/w/ln', '/new/dir/')}")
        if self.maybe(0.15):
            lines.append(f"USER {self.one('5', 'daemon' if not on_scratch else '6', '7:8')}")
        for _ in range(self.random.randrange(1, 4)):
            lines.append(self.copy(context, made))
        if self.maybe(0.2):
            lines.append(f"WORKDIR {self.one('/w/later', 'x/y', '/')}")
        return "\n".join(lines) + "\n"

    def made_tree(self) -> str:
        """A tree below /w with times of its own."""
        commands = ["mkdir -p /w/d/e /w/f.d", "echo made > /w/d/a", "echo file > /w/file"]
        commands += self.random.sample(
            [
                "chmod 2775 /w/d", "chmod 700 /w/d/e", "chown 3:4 /w/d /w/d/a", "ln -s d /w/ln", "ln -s /w/d/e /w/abs",
                "ln -s file /w/lf", "ln -s nowhere /w/gone", "ln /w/file /w/hard", "mkdir /w/a", "mkdir /w/b.txt",
                "touch /w/e", "chmod 4755 /w/file", "mkfifo /w/d/fifo", "ln -s .. /w/d/up", "mkdir /w/d/d", "ln -s b.txt /w/c.log",
            ],
            self.random.randrange(1, 9),
        )  # fmt: skip
        commands.append(f"find /w -depth -exec touch -h -d @{self.time()} {{}} +")
        return " && ".join(commands)

    def copy(self, context: list[Item], made: bool) -> str:
        flags = []
        if self.maybe(0.25):
            flags.append(f"--chown={self.one(*OWNERS)}")
        if self.maybe(0.2):
            flags.append(f"--chmod={self.one(*CHMODS)}")
        add = self.maybe(0.3)
        if not add and made and self.maybe(0.45):
            flags.append("--from=made")
            sources = [self.made_source() for _ in range(self.random.choice((1, 1, 2)))]
        else:
            sources = [self.source(context) for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        dest = self.dest(several=len(sources) > 1)
        words = [*sources, dest]
        if any(" " in word or "[" in word for word in words):
            listed = ", ".join('"' + word.replace("\\", "\\\\") + '"' for word in words)
            return " ".join([self.one("ADD") if add else "COPY", *flags, f"[{listed}]"])
        return " ".join(["ADD" if add else "COPY", *flags, *words])

    def source(self, context: list[Item]) -> str:
        names = [item.path for item in context] or ["a"]
        name = self.one(*names)
        first, _, last = name.rpartition("/")
        above = first + "/" if first else ""
        literal = name.replace("[", "[[]")
        return self.one(
            literal, literal, literal, f"/{literal}", f"./{literal}", f"../{literal}", f"{literal}/", f"{literal}/.",
            ".", "./", "/", "*", f"{above}*", f"{above}?{last[1:]}".replace("[", "?"), f"{above}{last[:1]}*", "*/*",
            "[a-c]*", "[^a]*", ".*", f"{above}*.txt", "nothere*", f"{literal}/../{literal}", f"{literal}/*",
        )  # fmt: skip

    def made_source(self) -> str:
        return self.one(
            "/w", "/w/", "/w/d", "w/d/a", "/w/ln", "/w/ln/a", "/w/*", "/w/d/*", "/w/abs/", "/w/lf", "/w/file", "/w/hard",
            "/w/f*", "/w/ln/*", "/w/d/up/file", "/w/./d/../file", "/w/d/fifo", "/w/?",
        )  # fmt: skip

    def dest(self, *, several: bool) -> str:
        ending = self.one("/", "/", "") if several else ""
        return self.one(
            "/", "/out", "/out/", "/out/deep/", "/out/x", ".", "./", "rel", "rel/", "/w", "/w/", "/w/d", "/w/d/", "/w/ln",
            "/w/ln/", "/w/ln/x", "/w/file", "/w/lf", "/w/gone", "/w/gone/", "/w/abs/y", "/w/a", "/w/.", "../up/", "/w/f.d",
        ) + ending  # fmt: skip

    # variables and settings

    def arguments(self) -> dict[str, str]:
        return {name: self.one("given", "", "a b", "$A") for name in ("GIVEN", "ALSO") if self.maybe(0.3)}

    def words(self) -> str:
        """A Dockerfile of variables: what they expand to stands in the configuration."""
        lines = []
        if self.maybe(0.4):
            lines.append(f"ARG GLOBAL={self.word()}")
        lines.append("FROM busybox")
        for _ in range(self.random.randrange(2, 9)):
            lines.append(self.setting())
        return "\n".join(lines) + "\n"

    def setting(self) -> str:
        name = self.one("A", "B", "C_1", "GIVEN", "ALSO", "GLOBAL", "PATH")
        word = self.word()
        return self.one(
            f"ENV {name}={word}", f"ENV {name}={word} B={self.word()}", f"ARG {name}", f"ARG {name}={word}",
            f"LABEL l.{name}={word}", f"LABEL \"k {name}\"={word} x=y", f"ENV {name} {word} tail  end",
            f"WORKDIR /x/{word}", f"WORKDIR r/{word}", f"USER {self.one('5', 'u:g', '$A')}", f"EXPOSE {self.one('80', '81/udp', '82-84', '9/TCP')}",
            f"VOLUME /v/{word}", f"CMD echo {word}", f'CMD ["echo", "{self.one("a", "$A", "b c")}"]',
            f'ENTRYPOINT ["{self.one("/e", "sh")}"]', f"ENTRYPOINT run {word}", f"STOPSIGNAL {self.one('9', 'SIGTERM', 'TERM')}",
            "SHELL [\"/bin/ash\", \"-c\"]", "HEALTHCHECK NONE", "HEALTHCHECK --interval=5s --retries=3 CMD true",
            f"ONBUILD RUN echo {word}", "MAINTAINER me", f"# {word}",
        )  # fmt: skip

    def word(self) -> str:
        parts = []
        for _ in range(self.random.randrange(1, 4)):
            name = self.one("A", "B", "C_1", "GIVEN", "ALSO", "GLOBAL", "UNSET")
            parts.append(self.one(
                "plain", f"${name}", f"${{{name}}}", f"${{{name}:-dflt}}", f"${{{name}:+alt}}", f"${{{name}:-$A}}",
                f'"${name} q"', f"'${name}'", f"\\${name}", '"a b"', "x\\ y", f"${{{name}-d}}", f"${{{name}+p}}", '""', "a\\\\b",
                f"${name}.z", "-", "é", f"${{{name}:-'q q'}}", "\"it's\"",
            ))  # fmt: skip
        return "".join(parts)


def generate(seed: int) -> Case:
    """Return the case of a seed."""
    return Generator(seed).case()
