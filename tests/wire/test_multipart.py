"""Forms with files: what is read is what is sent on, and what could be read in two ways is refused."""

from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.multipart import MOST_PARTS, Part, form_type, is_form, read_form, write_form

TYPE = b"multipart/form-data; boundary=b0"


def form(*pieces: bytes, end: bytes = b"--b0--\r\n") -> bytes:
    return b"".join(b"--b0\r\n" + piece + b"\r\n" for piece in pieces) + end


def part(disposition: bytes, data: bytes = b"x", *more: bytes) -> bytes:
    return b"\r\n".join((b"Content-Disposition: " + disposition, *more, b"", data))


NAMED = part(b'form-data; name="a"')
DATA = st.binary(max_size=50) | st.sampled_from([b"\r\n", b"--b0", b"\r\n--b0--\r\n", b"\r\n\r\n", b"--"])
PARTS = st.lists(
    st.builds(
        Part,
        name=st.just("x[]"),
        data=DATA,
        filename=st.none() | st.text("abc .-\u00e9", max_size=10),
        media_type=st.none(),
    ),
    min_size=1,
    max_size=5,
)


@given(PARTS)
def test_what_is_written_is_read_as_it_was_by_us_and_by_another_parser(parts: list[Part]) -> None:
    body, kind = write_form(parts), form_type(parts)
    assert read_form(body, kind) == parts
    message = BytesParser(policy=policy.HTTP).parsebytes(b"content-type: " + kind + b"\r\n\r\n" + body)
    found = [
        (each.get_param("name", header="content-disposition"), each.get_filename()) for each in message.iter_parts()
    ]
    assert [name for name, _ in found] == [each.name for each in parts]


def test_a_form_as_clients_send_it() -> None:
    parts = read_form(
        form(
            part(b'form-data; name="model"', b"m"),
            part(b'form-data; name="file"; filename="a b.wav"', b"RIFF\r\n", b"Content-Type: audio/wav"),
            part(b"form-data; name=x; filename=y", b""),
            part(b'form-data; name="list[]"', b"1"),
            part(b'form-data; name="list[]"', b"2", b"Content-Type: text/plain; charset=utf-8", b"content-length: 1"),
        ),
        b'multipart/form-data; boundary="b0"',
    )
    assert parts == [
        Part("model", b"m"),
        Part("file", b"RIFF\r\n", "a b.wav", "audio/wav"),
        Part("x", b"", "y"),
        Part("list[]", b"1"),
        Part("list[]", b"2"),
    ]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(NAMED), b"multipart/form-data"),
        (form(NAMED), b"multipart/form-data; boundary="),
        (form(NAMED), b"multipart/form-data; boundary=b0; boundary=b1"),
        (form(NAMED), b"multipart/mixed; boundary=b0"),
        (b"preamble\r\n" + form(NAMED), TYPE),
        (form(NAMED, end=b""), TYPE),
        (form(NAMED, end=b"--b0--\r\nmore"), TYPE),
        (form(NAMED, end=b"--b0"), TYPE),
        (b"", TYPE),
        (b"--b0--\r\n", b"multipart/form-data; boundary=b1"),
        *((form(each), TYPE) for each in (b"", b"\r\nx", b"x", b"a: b\r\n\r\nx")),
        *(
            (form(part(each)), TYPE)
            for each in (
                b"form-data",
                b"attachment; name=a",
                b'form-data; name="a"; name="b"',
                b"form-data; name=a; filename*=UTF-8''b",
                b'form-data; name="a\\"b"',
                b'form-data; name="a b"',
                b'form-data; name=""',
                b'form-data; name="a"; filename="a\\"b"',
                b'form-data; name="a" b',
                b'form-data; name="\xff"',
            )
        ),
        (form(part(b"form-data; name=a", b"x", b"Content-Transfer-Encoding: base64")), TYPE),
        (form(part(b"form-data; name=a", b"x", b"content-disposition: form-data; name=b")), TYPE),
        (form(part(b"form-data; name=a; filename=f", b"x", b"content-type: a/b; c=d")), TYPE),
        (form(NAMED, NAMED), TYPE),
        (form(NAMED, part(b'form-data; name="a[]"')), TYPE),
        (form(part(b'form-data; name="a[]"'), NAMED), TYPE),
        (form(*[part(b'form-data; name="a[]"')] * (MOST_PARTS + 1)), TYPE),
        (form(part(b"form-data; name=a", b"x", b"x: " + b"y" * 5_000)), TYPE),
    ],
)
def test_what_another_parser_could_read_in_another_way_is_refused(body: bytes, kind: bytes) -> None:
    refusal = read_form(body, kind)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "request_invalid"


@given(st.binary(max_size=200))
def test_nonsense_is_no_error(body: bytes) -> None:
    for each in (body, b"--b0\r\n" + body, form(body)):
        read_form(each, TYPE)


def test_which_bodies_are_forms() -> None:
    assert is_form(b" Multipart/Form-Data; boundary=x")
    assert not is_form(b"application/json")
    assert not is_form(b"")


def test_the_boundary_does_not_depend_on_the_model() -> None:
    first, second = ([Part("model", name), Part("file", b"x", "f")] for name in (b"m", b"another"))
    assert form_type(first) == form_type(second)
    mark = form_type(first).rpartition(b"=")[2]
    assert form_type([*first, Part("x", mark)]) != form_type(first), "one that stands in the form is no boundary"
