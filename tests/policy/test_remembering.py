"""A remembered decision is the one that Cedar would make: over generated policies and contexts."""

from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from comptroller.core.policy import policies as module
from comptroller.core.policy.load import load_policies
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.request import LARGEST_LONG, LONGS, PolicyRequest
from tests.policy.samples import TARGETS, policies, request, tool_request

FILLED = ("estimate_nanos", "input_tokens", "output_limit", "session_age_s", "budget_left_bp")
OF_BOTH = ("estimate_nanos", "session_age_s", "budget_left_bp", "calls")
TOOLS = (("files/read_file", ("read",)), ("files/write_file", ("write",)), ("search/web", ("read", "open_world")))
FOUND = ("secret", "email")
TEAMS, KINDS, NAMES = ("search", "support", "other"), ("agent", "human"), ("agent/scout", "human/dana", "agent/ci-1")
MODELS = (("big", "frontier"), ("small-1", "small"), ("small-2", "small"), ("mid-1", "standard"), ("free", ""))
ENVIRONMENTS, CLASSES = ("production", "testing"), ("pii", "public")

# Small numbers, so that contexts meet the cut points; the ends, so that sums overflow.
numbers = st.integers(-3, 12) | st.sampled_from([LARGEST_LONG, LARGEST_LONG - 1, -LARGEST_LONG])
entity = st.sampled_from(['Team::"search"', 'Team::"support"', 'Organization::"acme"', 'Owner::"ann@acme.example"'])
who = st.sampled_from(['Identity::"agent/scout"', 'Identity::"human/dana"'])


def literal(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def comparisons(longs: tuple[str, ...]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    value = st.builds("context.{}".format, st.sampled_from(longs))
    either = value | st.builds(literal, numbers)
    summed = st.builds("({} {} {})".format, value, st.sampled_from(["+", "-", "*"]), either)
    return (
        st.builds("{} {} {}".format, value, signs, st.builds(literal, numbers))
        | st.builds("{} {} {}".format, st.builds(literal, numbers), signs, value)
        | st.builds("{} {} {}".format, value | summed, signs, value)
    )


def about_names() -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("principal in {}".format, entity),
        st.builds("principal == {}".format, who),
        st.builds("principal in [{}, {}]".format, who, who),
        st.just('principal in [Team::"search", Team::"support"]'),
        st.builds("{} in {}".format, who, entity),
        st.builds("{} == principal".format, who),
        st.builds("principal.kind == {}".format, st.sampled_from(['"agent"', '"human"'])),
        st.sampled_from(['principal.name like "agent/*"', 'resource.name like "small-*"', 'resource.name == "free"']),
        st.sampled_from(["principal is Identity", 'principal is Identity in Team::"search"', "principal has kind"]),
        st.sampled_from(['action == Action::"model.call"', 'action == Action::"tool.call"', "context has depth"]),
        st.sampled_from(["resource is Model", "resource is Tool", "context has input_tokens", "resource has server"]),
    )


def about_models() -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("resource in ModelClass::{}".format, st.sampled_from(['"frontier"', '"small"'])),
        st.builds("resource == Model::{}".format, st.sampled_from(['"big"', '"small-1"'])),
        st.sampled_from(
            [
                "context.model_class == context.environment",
                'context.model_class == ""',
                "(if context.input_tokens > 3 then context.output_limit else context.estimate_nanos) > 2",
                "[context.input_tokens, 3].contains(context.output_limit)",
                '{"a": context.input_tokens} == {"a": 3}',
            ]
        ),
    )


def about_tools() -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("resource in RiskClass::{}".format, st.sampled_from(['"read"', '"write"', '"open_world"'])),
        st.builds("resource in Server::{}".format, st.sampled_from(['"files"', '"search"'])),
        st.builds("resource == Tool::{}".format, st.sampled_from(['"files/read_file"', '"search/web"'])),
        st.builds("context.arguments.contains({})".format, st.sampled_from(['"secret"', '"email"'])),
        st.sampled_from(
            [
                'resource.server == "files"',
                'resource.name like "files/*"',
                'resource in [RiskClass::"write", Server::"search"]',
                'Tool::"files/read_file" in RiskClass::"read"',
                'context.risks.containsAny(["write", "x"])',
                'context.server == "search"',
                "context.arguments.isEmpty()",
                'context.risks == ["open_world", "read"]',
            ]
        ),
    )


def about_values() -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds('context.environment == "{}"'.format, st.sampled_from(ENVIRONMENTS)),
        st.builds('context.data_classes.contains("{}")'.format, st.sampled_from(CLASSES)),
        st.builds('["testing", "{}"].contains(context.environment)'.format, st.sampled_from(ENVIRONMENTS)),
        st.sampled_from(
            [
                'context.environment like "test*"',
                "context.data_classes.isEmpty()",
                'context.data_classes.containsAny(["pii", "x"])',
                'context.data_classes == ["pii", "public"]',
                "context.model_class == context.environment",
                'context.model_class == ""',
                "(if context.input_tokens > 3 then context.output_limit else context.estimate_nanos) > 2",
                "[context.input_tokens, 3].contains(context.output_limit)",
                '{"a": context.input_tokens} == {"a": 3}',
                'context["estimate_nanos"] > 5',
                'context.profile == "nightly"',
                'context.tools_used.contains("files/read_file")',
                'context.tools_used.containsAny(["search/web", "x"]) && context.calls > 3',
            ]
        ),
    )


def conditions(plain: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        plain,
        lambda inner: (
            st.builds("({} && {})".format, inner, inner)
            | st.builds("({} || {})".format, inner, inner)
            | st.builds("!({})".format, inner)
        ),
        max_leaves=4,
    )


principals = st.one_of(
    st.just("principal"),
    st.builds("principal in {}".format, entity),
    st.builds("principal == {}".format, who),
    st.just('principal is Identity in Team::"search"'),
)
EITHER = comparisons(OF_BOTH) | about_names() | about_values()


def scopes(action: str, resources: list[str], plain: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """The scope and the clauses of a policy about one action, or about both."""
    clause = st.builds("{} {{ {} }}".format, st.sampled_from(["when", "unless"]), conditions(plain))
    clauses = st.lists(clause, max_size=2).map(" ".join)
    return st.builds(("({}, " + action + ", {}) {}").format, principals, st.sampled_from(resources), clauses)


MODEL_POLICIES = scopes(
    'action == Action::"model.call"',
    ["resource", 'resource in ModelClass::"frontier"', 'resource == Model::"small-1"', "resource is Model"],
    EITHER | comparisons(FILLED) | about_models(),
)
TOOL_POLICIES = scopes(
    'action == Action::"tool.call"',
    ["resource", 'resource in Server::"files"', 'resource in RiskClass::"write"', 'resource == Tool::"search/web"'],
    EITHER | about_tools(),
)
POLICIES = st.one_of(MODEL_POLICIES, TOOL_POLICIES, scopes("action", ["resource"], EITHER))


@st.composite
def sets(draw: st.DrawFn) -> str:
    effects = draw(st.lists(st.sampled_from(["permit", "forbid"]), min_size=1, max_size=4))
    return "\n".join(f'@id("p{number}") {effect} {draw(POLICIES)};' for number, effect in enumerate(effects))


@st.composite
def requests(draw: st.DrawFn) -> PolicyRequest:
    common: dict[str, Any] = {
        "identity": draw(st.sampled_from(NAMES)),
        "kind": draw(st.sampled_from(KINDS)),
        "team": draw(st.sampled_from(TEAMS)),
        "owner": draw(st.sampled_from(("ann@acme.example", "bob@acme.example"))),
        "environment": draw(st.sampled_from(ENVIRONMENTS)),
        "data_classes": tuple(draw(st.lists(st.sampled_from(CLASSES), unique=True))),
        "profile": draw(st.sampled_from(("", "nightly"))),
        "tools_used": tuple(draw(st.lists(st.sampled_from([name for name, _ in TOOLS]), unique=True))),
        **{name: draw(numbers) for name in OF_BOTH},
    }
    if draw(st.booleans()):
        tool, risks = draw(st.sampled_from(TOOLS))
        found = tuple(draw(st.lists(st.sampled_from(FOUND), unique=True)))
        return tool_request(tool, risks, arguments=found, **common)
    model, model_class = draw(st.sampled_from(MODELS))
    sizes: dict[str, Any] = {name: draw(numbers) for name in ("input_tokens", "output_limit")}
    return request(model=model, model_class=model_class, **common, **sizes)


lifted = st.frozensets(st.sampled_from(["p0", "p1", "p2"]), max_size=2)


@settings(max_examples=300)
@given(sets(), st.lists(st.tuples(requests(), lifted), min_size=2, max_size=25))
@example(
    '@id("p0") permit (principal, action == Action::"model.call", resource) when { context.input_tokens == 3 };', []
)
def test_a_remembered_decision_is_the_one_that_cedar_makes(text: str, asked: list[tuple[PolicyRequest, Any]]) -> None:
    found = load_policies({"test.cedar": text}, TARGETS)
    assume(isinstance(found, Policies))  # some sets are nonsense to the schema
    assert isinstance(found, Policies)
    for question, suspended in asked:
        remembered, made = found.decide(question, suspended), found.evaluate(question, suspended)
        assert remembered == made, (text, question)


@settings(max_examples=100)
@given(sets(), st.lists(st.tuples(requests(), lifted), min_size=2, max_size=25))
def test_a_call_that_is_permitted_is_one_that_can_ever_be(text: str, asked: list[tuple[PolicyRequest, Any]]) -> None:
    found = load_policies({"test.cedar": text}, TARGETS)
    assume(isinstance(found, Policies))
    assert isinstance(found, Policies)
    for question, suspended in asked:
        if found.evaluate(question, suspended & found.asking("finops")).allowed:
            assert found.may_ever(question.principal, question.resource), (text, question)
            assert found.may_ever(question.principal, question.resource, question.context), (text, question)


def remembered(found: Policies) -> int:
    return len(found._decided)


def test_numbers_between_the_same_cut_points_are_one_decision() -> None:
    found = policies(
        '@id("p") permit (principal, action, resource);'
        '@id("f") forbid (principal, action == Action::"model.call", resource)'
        "when { context.estimate_nanos > 10 && context.input_tokens <= 5 };"
    )
    for estimate in range(30):
        for tokens in range(10):
            found.decide(request(estimate_nanos=estimate, input_tokens=tokens, output_limit=estimate * tokens))
    assert remembered(found) == 4


def test_who_is_not_named_counts_as_any_other() -> None:
    found = policies('@id("p") permit (principal in Team::"search", action, resource);')
    for number in range(100):
        found.decide(
            request(identity=f"agent/{number}", team=f"team-{number}", owner=f"{number}@x", model=f"m{number}")
        )
    found.decide(request(team="search"))
    assert remembered(found) == 2


def test_a_sum_is_remembered_by_its_exact_parts() -> None:
    found = policies('@id("p") permit (principal, action, resource) when { context.estimate_nanos * 2 > 10 };')
    for estimate in range(8):
        found.decide(request(estimate_nanos=estimate))
    assert remembered(found) == 8


def test_what_is_remembered_is_bounded_and_errors_are_not() -> None:
    found = policies('@id("p") permit (principal, action, resource) when { context.estimate_nanos + 1 > 10 };')
    for estimate in range(module.DECISIONS_KEPT + 10):
        found._decided[estimate] = found.decide(request(estimate_nanos=1))
        if remembered(found) >= module.DECISIONS_KEPT:
            break
    found.decide(request(estimate_nanos=2))
    assert remembered(found) == 1
    assert found.decide(request(estimate_nanos=LARGEST_LONG)).errors
    assert remembered(found) == 1


def test_every_long_can_be_cut() -> None:
    assert set(FILLED) < LONGS
