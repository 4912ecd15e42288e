"""Every kind of session state in every situation it can come about in, be seen, and end."""

import dataclasses

from scenario import A, B, NO_LOCKS, cancelled, wait

BREAK = "select 1/0"


@dataclasses.dataclass(frozen=True)
class Kind:
    """Session state: statements that make it, that show it, and that end it.

    `other` makes another state of the same kind. Statements in `undo` that PostgreSQL refuses in
    transactions are refused there.
    """
    name: str
    make: tuple
    look: tuple
    undo: tuple = ()
    other: tuple = ()
    setup: str = ""
    startup: dict = dataclasses.field(default_factory=dict)


def simple(actor, *statements):
    return [actor(sql) for sql in statements]


def extended(actor, *statements):
    return [actor.x(sql) for sql in statements]


def situations(kind, ask):
    """(name, steps); `ask` is simple or extended."""
    make, look = kind.make, kind.look
    looks = [*ask(A, *look), *ask(B, *look)]
    come = [A.connect(**kind.startup)] if kind.startup else []
    yield "outside transactions", [*come, *ask(A, *make), *looks, *ask(A, *look)]
    yield "committed", [*come, *ask(A, "begin", *make, *look), *ask(B, *look), *ask(A, "commit"), *looks]
    yield "rolled back", [*come, *ask(A, "begin", *make, *look, "rollback"), *looks]
    yield "made before and again in what is rolled back", [
        *come, *ask(A, *make), *ask(A, "begin", *(kind.other or make), "rollback"), *looks]
    yield "rolled back to a savepoint", [
        *come, *ask(A, "begin", "savepoint s", *make, *look, "rollback to s", *look, "commit"), *looks]
    yield "savepoint released", [*come, *ask(A, "begin", "savepoint s", *make, "release s", "commit"), *looks]
    yield "in a transaction that fails", [*come, *ask(A, "begin", *make, BREAK, *look, "commit"), *looks]
    yield "behind an error", [*come, *ask(A, "begin", BREAK, *make, "rollback", *make), *looks]
    yield "disconnect", [*come, *ask(A, *make), A.leave(), wait(NO_LOCKS), *come, *looks]
    yield "disconnect in a transaction", [*come, *ask(A, *make, "begin", *make), A.vanish(), wait(NO_LOCKS), *ask(B, *look)]
    yield "cancel", [*come, *ask(A, *make), *cancelled(A), *looks]
    yield "cancel in a transaction", [*come, *ask(A, "begin", *make), *cancelled(A), *ask(A, "rollback"), *looks]
    if kind.other:
        yield "two clients alternate", [
            *come, *ask(A, *make), *ask(B, *kind.other), *looks, *ask(A, *kind.other), *ask(B, *make), *looks]
        yield "two transactions at once", [
            *come, *ask(A, "begin", *make), *ask(B, "begin", *kind.other), *looks, *ask(A, "commit"), *ask(B, "rollback"),
            *looks]
    for undo in kind.undo:
        yield f"undone by {undo}", [*come, *ask(A, *make, undo), *looks, *ask(A, *make), *looks]
        yield f"undone in a transaction by {undo}", [*come, *ask(A, *make, "begin", undo, *look, "commit"), *looks]
        yield f"undone for a while by {undo}", [*come, *ask(A, *make, "begin", undo, *look, "rollback"), *looks]
    yield from (of_queries if ask is simple else of_pipelines)(kind, come, looks)


def of_queries(kind, come, looks):
    """Several statements in one Query are one transaction."""
    make, look = kind.make, kind.look
    yield "in one Query", [*come, A("; ".join([*make, *look])), *looks]
    yield "in one Query with its transaction", [*come, A("; ".join(["begin", *make, "commit"])), *looks]
    yield "in one Query that fails", [*come, A("; ".join([*make, BREAK])), *looks]
    yield "in one Query that commits first", [*come, A("; ".join(["begin", *make, "commit", BREAK])), *looks]
    yield "between comments", [*come, *(A(f" /* a */ {sql} -- b\n ;;") for sql in make), *looks]


def of_pipelines(kind, come, looks):
    """Everything up to a Sync is one transaction."""
    make, look = kind.make, kind.look
    yield "in one pipeline", [*come, A.pipeline(*make, *look[:1]), *looks]
    yield "in a pipeline that fails", [*come, A.pipeline(*make, BREAK), *looks]
    yield "in a pipeline that has failed", [*come, A.pipeline(BREAK, *make), *looks]


def check(test, kind, ask):
    """Plays all situations of the kind."""
    for name, steps in situations(kind, ask):
        test.check(f"{kind.name}, {ask.__name__}: {name}", steps, kind.setup)


def tests_of(*kinds):
    """Decorates a test class: two test methods for each kind."""
    def decorate(test_class):
        for kind in kinds:
            for ask in (simple, extended):
                name = f"test_{kind.name}_{ask.__name__}".replace(" ", "_")
                if hasattr(test_class, name):
                    raise AssertionError(f"two tests are called {name}")
                setattr(test_class, name, lambda self, kind=kind, ask=ask: check(self, kind, ask))
        return test_class
    return decorate
