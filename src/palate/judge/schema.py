"""The store's tables as ordered migrations; `PRAGMA user_version` says how many a file has.

A migration is never edited once released: a change is a new one.  Judgements are appended: triggers
refuse an update, a deletion, and a replacement under the same id.  Undo is a row (`revoked`), and a
correction is a row that supersedes; both indexes below keep that history a chain.
"""

import sqlite3
from typing import Final

APPLICATION: Final = 0x70616C61  # "pala": tells a store from any other SQLite file

_PROMPTS = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE judge(
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK(kind IN('person','file','program','model')));
CREATE TABLE prompt(
  id TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  turns TEXT,                          -- a conversation, as JSON
  tags TEXT NOT NULL DEFAULT '[]',
  split TEXT NOT NULL CHECK(split IN('train','heldout')),
  shuffle INTEGER NOT NULL);           -- a random order, fixed when the prompt came
CREATE INDEX prompt_shuffle ON prompt(shuffle);
CREATE TABLE answer(
  id TEXT PRIMARY KEY,
  prompt_id TEXT NOT NULL REFERENCES prompt(id),
  text TEXT NOT NULL,
  origin TEXT NOT NULL CHECK(origin IN('sample','import','edit','human')),
  parent_id TEXT REFERENCES answer(id),
  made TEXT NOT NULL DEFAULT '{}',
  created REAL NOT NULL,
  UNIQUE(prompt_id, text));
"""
_JUDGEMENTS = """
CREATE TABLE presentation(
  id TEXT PRIMARY KEY,
  prompt_id TEXT NOT NULL REFERENCES prompt(id),
  left_id TEXT NOT NULL REFERENCES answer(id),
  right_id TEXT NOT NULL REFERENCES answer(id),
  judge TEXT NOT NULL REFERENCES judge(name),
  mode TEXT NOT NULL
    CHECK(mode IN('pair','rank','edit','write','audit','resolve','recheck','import')),
  selector TEXT NOT NULL CHECK(selector IN('random','active','reask','given')),
  again TEXT REFERENCES presentation(id),
  shown REAL NOT NULL,
  CHECK(left_id <> right_id));
CREATE INDEX presentation_prompt ON presentation(prompt_id, judge);
CREATE INDEX presentation_judge ON presentation(judge, mode);
CREATE INDEX presentation_again ON presentation(again) WHERE again IS NOT NULL;
CREATE TABLE judgement(
  id TEXT PRIMARY KEY,                 -- made by the client: the same one twice is one judgement
  presentation_id TEXT NOT NULL REFERENCES presentation(id),
  verdict TEXT NOT NULL CHECK(verdict IN('left','right','tie','both_bad','skip')),
  strength INTEGER NOT NULL DEFAULT 1 CHECK(strength IN(1,2)),
  reason TEXT NOT NULL DEFAULT '',
  tags TEXT NOT NULL DEFAULT '[]',
  ms INTEGER NOT NULL CHECK(ms >= 0),
  created REAL NOT NULL,
  supersedes TEXT REFERENCES judgement(id),
  revoked INTEGER NOT NULL DEFAULT 0 CHECK(revoked IN(0,1)));
CREATE INDEX judgement_presentation ON judgement(presentation_id);
CREATE UNIQUE INDEX judgement_one_root ON judgement(presentation_id) WHERE supersedes IS NULL;
CREATE UNIQUE INDEX judgement_no_fork ON judgement(supersedes) WHERE supersedes IS NOT NULL;
CREATE TRIGGER judgement_no_update BEFORE UPDATE ON judgement
  BEGIN SELECT RAISE(ABORT, 'judgements are appended, never updated'); END;
CREATE TRIGGER judgement_no_delete BEFORE DELETE ON judgement
  BEGIN SELECT RAISE(ABORT, 'judgements are appended, never deleted'); END;
-- INSERT OR REPLACE does not fire the trigger above
CREATE TRIGGER judgement_no_replace BEFORE INSERT ON judgement
  WHEN EXISTS(SELECT 1 FROM judgement WHERE id = NEW.id)
  BEGIN SELECT RAISE(ABORT, 'this judgement is there already'); END;
CREATE VIEW standing AS SELECT j.rowid AS place, j.* FROM judgement j
  WHERE j.revoked = 0 AND NOT EXISTS(SELECT 1 FROM judgement k WHERE k.supersedes = j.id);
"""
_DRAFTS = """
CREATE TABLE draft(name TEXT PRIMARY KEY, text TEXT NOT NULL, updated REAL NOT NULL);
"""
_PLAN = """
CREATE TABLE plan(
  place INTEGER PRIMARY KEY,
  one_id TEXT NOT NULL REFERENCES answer(id),
  other_id TEXT NOT NULL REFERENCES answer(id),
  selector TEXT NOT NULL CHECK(selector IN('random','active')),
  score REAL,
  CHECK(one_id <> other_id));
"""
MIGRATIONS: Final = (_PROMPTS, _JUDGEMENTS, _DRAFTS, _PLAN)


def version(connection: sqlite3.Connection) -> int:
    """How many migrations a file has."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether a file is a store, or empty and so may become one."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(mark == APPLICATION or (mark == 0 and tables == 0))


def migrate(connection: sqlite3.Connection, until: int = len(MIGRATIONS)) -> None:
    """Bring a file up to `until` migrations, each whole or not at all.

    The version is read again inside the transaction: another process may have been quicker.
    """
    while version(connection) < until:
        connection.execute("BEGIN IMMEDIATE")
        try:
            done = version(connection)
            if done < until:
                for statement in _statements(MIGRATIONS[done]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {done + 1:d}")
                connection.execute(f"PRAGMA application_id = {APPLICATION:d}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _statements(script: str) -> list[str]:
    """One statement each: `executescript` would commit the transaction first."""
    found, open_lines = [], ""
    for line in script.splitlines():
        open_lines += line + "\n"
        if sqlite3.complete_statement(open_lines):
            found.append(open_lines)
            open_lines = ""
    assert not open_lines.strip(), f"a migration ends in the middle: {open_lines}"
    return found
