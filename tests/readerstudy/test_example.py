"""The README's example runs as it stands."""

import re
from pathlib import Path

import readerstudy


def test_the_example_of_the_readme_runs_and_is_short(capsys):
    text = (Path(readerstudy.__file__).parent / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "8 quiz images of 4 specimens were answered by 3 readers" in printed
    assert "machine and the mean of these 3 readers cannot be told apart" in printed and "majority vote" in printed
