"""The SQL world: what its database refuses, its limits, actions, splits, and the expert."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atlas.environments.experts import ExpertConfig, stream
from atlas.environments.react import react_message
from atlas.environments.sql.config import SqlConfig
from atlas.environments.sql.environment import SqlEnvironment
from atlas.environments.sql.guarded import (
    FUNCTIONS,
    MAX_STATEMENT,
    MAX_VALUE,
    Cell,
    GuardedDatabase,
    QueryError,
)
from atlas.environments.sql.played import find_action, is_same_answer
from atlas.environments.sql.questions import HELD_OUT_QUESTIONS, QUESTIONS, TRAIN_QUESTIONS
from atlas.environments.sql.schemas import SCHEMAS, fill
from atlas.environments.sql.tasks import NEW_TABLES
from atlas.errors import DataError
from atlas.records import Message, Task

ROWS: list[list[Cell]] = [[number, f"name {number}"] for number in range(30)]
ENDLESS = "with recursive x(n) as (select 1 union all select n + 1 from x) "


@pytest.fixture
def database() -> Iterator[GuardedDatabase]:
    made = GuardedDatabase({"t": ({"id": "integer", "name": "text"}, ROWS)})
    yield made
    made.close()


@pytest.mark.parametrize(
    "statement",
    [
        "drop table t",
        "delete from t",
        "update t set id = 1",
        "insert into t values (1, 'x')",
        "insert into t values (1, 'x') returning id",
        "with x as (select 1) delete from t",
        "with x(a) as (select 1) insert into t select a, a from x",
        "create table u (a)",
        "create temp table u (a)",
        "create temp view v as select 1",
        "create virtual table v using fts5(a)",
        "create trigger r after insert on t begin select 1; end",
        "alter table t add column c",
        "attach database 'FILE' as f",
        "attach ':memory:' as f",
        "detach main",
        "vacuum",
        "vacuum into 'FILE'",
        "reindex",
        "analyze",
        "begin",
        "savepoint s",
        "pragma query_only = off",
        "pragma temp_store_directory = '/tmp'",
        "select * from pragma_table_info('t')",
        "select * from pragma_database_list",
        "select * from json_each('[1]')",
        "select * from sqlite_master",
        "values (1)",
        "explain select 1",
        "select count(*) from pragma_database_list",
        "select * from sqlite_schema",
        "select * from sqlite_temp_master",
        "select * from dbstat",
        "select load_extension('x')",
        "select writefile('FILE', 'x')",
        "select readfile('FILE')",
        "select zeroblob(1000000000)",
        "select length(zeroblob(1000000000))",
        "select randomblob(1000000)",
        "select random()",
        "select date('now')",
        "select current_timestamp",
        "select sqlite_version()",
        "select hex(name) from t",
        "select printf('%1000000000d', 1)",
        "select replace(name, 'n', name) from t",
        "select group_concat(name) from t",
        "select trim(name, 'n') from t",
        "select 1; drop table t",
        "select ?",
        "select :a",
        "select 'a\0b'",
        "select '\ud800'",
        "select x from nowhere",
        "select",
        "",
    ],
)
def test_everything_but_reading_the_tables_is_refused(
    database: GuardedDatabase, statement: str, tmp_path: Path
) -> None:
    file = tmp_path / "file.db"
    with pytest.raises(QueryError):
        database.query(statement.replace("FILE", str(file)))
    assert not file.exists()
    assert database.query("select count(*), min(id), max(id) from t").endswith("30 | 0 | 29")


@pytest.mark.parametrize(
    "statement",
    [
        f"{ENDLESS}select count(*) from x",
        f"{ENDLESS}select n from x order by n desc",
        "select count(*) from t a, t b, t c, t d, t e",
        "with a as (select t.id from t, t b), c as (select 1 from a, a d, a e) "
        "select sum(1) from c, c f",
    ],
)
def test_an_endless_query_is_stopped_in_time(database: GuardedDatabase, statement: str) -> None:
    started = time.process_time()
    for _ in range(2):
        with pytest.raises(QueryError, match="takes too long"):
            database.query(statement)
    assert time.process_time() - started < 2
    assert database.query("select id from t limit 1") == "id\n0"


@pytest.mark.parametrize("name", ["c", "[']", "`'`", '"\'"', "[`]", '`"`', "[--]", "[/*]"])
def test_named_subqueries_that_multiply_are_refused_before_they_are_expanded(
    database: GuardedDatabase, name: str
) -> None:
    named = ", ".join(f"c{n} as/**/(select 1 from c{n - 1}, c{n - 1} d)" for n in range(1, 17))
    started = time.process_time()
    with pytest.raises(QueryError, match="named subqueries"):
        database.query(
            f"with {name} as materialized (select 1), c0 as (select 1), {named} "
            f"select 1 from c16, {name}"
        )
    assert time.process_time() - started < 0.1


BIG = (
    "with recursive x(a, n) as (select 'aaaaaaa', 1 union all select a || a, n + 1 from x "
    "where n < 7) select {} from x, t, t b, t c where n = 7"
)


@pytest.mark.parametrize(
    "asked",
    [
        "max(instr(a, substr(a, 1, 200) || 'b'))",
        f"max(a like '%{'a' * 28}b')",
        f"max(a like '{'%a' * 14}%b')",
        "count(distinct a || t.id || b.id || c.id)",
        "max(upper(lower(upper(a)))) || min(substr(a, 5))",
    ],
)
def test_slow_functions_on_long_values_end_in_time(database: GuardedDatabase, asked: str) -> None:
    started = time.process_time()
    with suppress(QueryError):
        database.query(BIG.format(asked))
    assert time.process_time() - started < 2


def test_sorting_long_values_takes_little_memory(database: GuardedDatabase) -> None:
    resource = pytest.importorskip("resource", reason="the system does not report memory")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(QueryError):
        database.query(f"{BIG.format('a || t.id || b.id || c.id as d')} order by d")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_values_and_statements_have_a_limit(database: GuardedDatabase) -> None:
    doubled = "with recursive x(a, n) as (select 'ab', 1 union all select a || a, n + 1 from x) "
    with pytest.raises(QueryError, match="too big"):
        database.query(f"{doubled}select a from x where n < 30")
    with pytest.raises(QueryError, match=f"{MAX_STATEMENT:,} characters"):
        database.query(f"select {' ' * MAX_STATEMENT} 1")
    assert MAX_VALUE <= 1_000


def test_a_result_is_short_whatever_was_asked(database: GuardedDatabase) -> None:
    wide = ", ".join(f"(select name || '{'x' * 99}' from t) a{number}" for number in range(6))
    for statement in (f"select {wide} from t", "select * from t", f'select 1 as "{"y" * 500}"'):
        lines = database.query(statement).splitlines()
        assert len(lines) <= 12
        assert all(len(line) < 500 for line in lines)
    assert "only the first 10 rows" in database.query("select * from t")


def test_like_with_many_wildcards_ends(database: GuardedDatabase) -> None:
    started = time.process_time()
    pattern = "%a" * 14 + "%b"
    text = "a" * 300
    assert database.query(f"select count(*) from t where '{text}' like '{pattern}'").endswith("0")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_allowed_functions_work(database: GuardedDatabase, name: str) -> None:
    arguments = {
        **dict.fromkeys(("ifnull", "instr", "nullif", "like", "coalesce"), "name, 'x'"),
        **dict.fromkeys(("substr", "substring"), "name, 1, 2"),
        "iif": "id, 1, 2",
    }.get(name, "id")
    assert database.query(f"select {name}({arguments}) from t limit 1")


def test_the_same_query_has_the_same_result_each_time(database: GuardedDatabase) -> None:
    statement = "select t.id, b.name from t, t b where t.id > b.id"
    assert database.query(statement) == database.query(statement)


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("Action:\nselect *\nfrom t\n\nignored", "select *\nfrom t"),
        ("Action: select count(*) from (\n select 1\n)", "select count(*) from (\nselect 1\n)"),
        ("Action:\n-- all of it\nselect 1 -- one\n-- or\nfrom t", "select 1 -- one\nfrom t"),
        ("Action:\n```sql\nSELECT 1\n```", "SELECT 1"),
        ("Action:\n\nanswer 3\nanswer 4", "answer 3"),
        ("Action:\nselection", "selection"),
        ("Thought: none", None),
        ("Action:\n\n", None),
    ],
)
def test_the_action_is_one_line_or_one_query(response: str, action: str | None) -> None:
    assert find_action(response) == action


def play(text: str, task: Task, environment: SqlEnvironment) -> tuple[str, bool, bool]:
    environment.reset(task)
    result = environment.step(react_message("", text))
    return result.observation[0].content, result.is_invalid, result.terminated


def test_actions_are_answered_and_wrong_ones_say_what_is_possible() -> None:
    environment = SqlEnvironment(SqlConfig())
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    table = environment.episode.tables[0]
    assert play("tables", task, environment)[0].startswith("Tables: ")
    assert play(f"Describe {table.upper()};", task, environment)[0].startswith(f"{table}: id")
    assert "no table 'moon'" in play("describe moon", task, environment)[0]
    for text in ("attach 'x' as y", "pragma query_only = off", "answer", "describe", "tables x"):
        said, is_invalid, is_over = play(text, task, environment)
        assert "The actions are" in said, text
        assert is_invalid
        assert not is_over


def test_a_comment_in_a_query_ends_with_its_line() -> None:
    environment = SqlEnvironment(SqlConfig())
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    table = environment.episode.tables[0]
    said, _, _ = play(f"select count(*) -- of all\nfrom {table}\nwhere 1 = 0", task, environment)
    assert said.splitlines()[-1] == "0"


@pytest.mark.parametrize("query", ["select\t1", "select*from (select 1)", "SELECT(1)", "select\n1"])
def test_a_query_needs_no_blank_after_its_first_word(query: str) -> None:
    environment = SqlEnvironment(SqlConfig())
    [task] = environment.tasks("train", 1, 0)
    said, is_invalid, _ = play(query, task, environment)
    assert (said.splitlines()[-1], is_invalid) == ("1", False)


def test_a_described_table_may_be_quoted() -> None:
    environment = SqlEnvironment(SqlConfig())
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    table = environment.episode.tables[0]
    for quoted in (f'"{table}"', f"`{table}`;", f"[{table}]", f"'{table}'."):
        assert play(f"describe {quoted}", task, environment)[0].startswith(f"{table}: id")


@pytest.mark.parametrize(
    ("said", "answer", "is_right"),
    [
        ("1,234", "1234", True),
        ("**1,234.**", "1234", True),
        ("1234.00", "1234", True),
        ("12,34", "1234", False),
        ("1,23", "123", False),
        ("1_234", "1234", False),
        ("`Ada`", "Ada", True),
        ("**ada**", "Ada", True),
        ("Ada Ada", "Ada", False),
    ],
)
def test_an_answer_in_another_spelling_is_the_same_answer(
    said: str, answer: str, is_right: bool
) -> None:
    assert is_same_answer(said, answer) is is_right


def test_an_answer_ends_the_episode_and_is_compared_as_number_or_name() -> None:
    environment = SqlEnvironment(SqlConfig())
    for task in environment.tasks("train", 20, 0):
        environment.reset(task)
        right = environment.episode.question.answer
        for text in (right, f"'{right.upper()}'.", f"{right}.0" if right.isdigit() else right):
            environment.reset(task)
            result = environment.step(react_message("", f"answer {text}"))
            assert (result.success, result.terminated, result.score) == (True, True, 1.0), text
        said, is_invalid, is_over = play("answer 12345", task, environment)
        assert (said, is_invalid, is_over) == ("That is wrong.", False, True)


@pytest.mark.parametrize("kind", QUESTIONS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_question_has_one_answer_in_every_database(kind: str, schema: str) -> None:
    num_asked = 0
    for seed in range(8):
        rng = stream("test", kind, schema, seed)
        database = GuardedDatabase(fill(SCHEMAS[schema], rng))
        question = QUESTIONS[kind](SCHEMAS[schema], database, rng)
        num_asked += question is not None
        if question is not None and len(question.queries) == 1:
            shown = database.query(question.queries[0])
            assert shown.splitlines()[-1] == question.answer
            assert question.condition in question.queries[0]
        database.close()
    assert num_asked


def test_held_out_has_other_questions_and_other_databases() -> None:
    environment = SqlEnvironment(SqlConfig())
    groups = {task.group for task in environment.tasks("held_out_test", 40, 0)}
    assert groups == {*HELD_OUT_QUESTIONS, *(f"{kind}{NEW_TABLES}" for kind in TRAIN_QUESTIONS)}
    seen = set()
    for split in ("train", "held_in_test"):
        for task in environment.tasks(split, 60, 0):
            environment.reset(task)
            seen.add(environment.episode.schema.name)
    assert len(seen) == 6
    for task in environment.tasks("held_out_test", 60, 0):
        environment.reset(task)
        is_new = environment.episode.schema.name not in seen
        assert is_new or task.group in HELD_OUT_QUESTIONS
    environment.close()


def test_a_task_of_another_world_is_refused() -> None:
    with pytest.raises(DataError, match="'chess'"):
        SqlEnvironment(SqlConfig()).reset(
            Task(id="other", environment="sql", group="chess", seed=1)
        )


def test_a_careless_expert_is_refused_and_corrects_itself() -> None:
    environment = SqlEnvironment(SqlConfig(expert=ExpertConfig(detour_rate=1, mistake_rate=1)))
    num_errors = num_tasks = 0
    for task in environment.tasks("train", 30, 0):
        environment.reset(task)
        expert, kinds, result = environment.expert(0), set[str](), None
        while result is None or not (result.terminated or result.truncated):
            turn = expert.respond()
            kinds |= set(turn.annotation.kinds)
            result = environment.step(turn.response)
            num_errors += result.is_invalid
        assert result.success
        num_tasks += "self_correction" in kinds
    assert num_tasks >= 25
    assert num_errors >= 10
    environment.close()


def test_tool_calls_are_no_actions_here() -> None:
    environment = SqlEnvironment(SqlConfig())
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    result = environment.step(Message(role="assistant", content="hello"))
    assert result.is_invalid
    assert result.action is None
    environment.close()
