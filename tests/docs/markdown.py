"""Documents, as far as these checks read them: headings, links, code, and blocks with the comment before each."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)(```+|~~~+)(.*)$")
COMMENT = re.compile(r"^ *<!-- (.+?) -->\s*$")


@dataclass
class Block:
    """A fenced block. `note` is the comment in the line before it, if there is one."""

    language: str
    note: str
    line: int
    text: str


class Document:
    def __init__(self, path):
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.prose, self.blocks = [], []
        fence, note, block = None, "", []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = FENCE.match(line)
            if fence is None and found:
                fence, indent, language, block, start = found[2], len(found[1]), found[3].strip(), [], number
            elif fence is not None and found and found[2].startswith(fence) and not found[3].strip():
                self.blocks.append(Block(language, note, start, "\n".join(block)))
                fence, note = None, ""
            elif fence is not None:
                block.append(line[indent:] if line[:indent].isspace() else line)
            else:
                comment = COMMENT.match(line)
                note = comment[1] if comment else note if not line.strip() else ""
                self.prose.append((number, line))

    def anchors(self):
        """Of each heading, as GitHub makes them."""
        found = {}
        for _, line in self.prose:
            heading = re.match(r"^#{1,6} +(.+?)\s*#*$", line)
            if heading:
                text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
                slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                again = found.get(slug, -1) + 1
                found[slug] = again
                if again:
                    found[f"{slug}-{again}"] = 0
            found.update({it: 0 for it in re.findall(r'<a (?:id|name)="([^"]+)"', line)})
        return set(found)

    def links(self):
        for number, line in self.prose:
            for target in re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", re.sub(r"`[^`]*`", "", line)):
                yield number, target

    def code(self):
        """What stands between backticks in the text."""
        for number, line in self.prose:
            for text in re.findall(r"`([^`]+)`", line):
                yield number, text


def documents():
    """All that git knows, or would know, of."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout.split("\n")
    return [Document(ROOT / it) for it in sorted(set(listed)) if it and (ROOT / it).exists()]
