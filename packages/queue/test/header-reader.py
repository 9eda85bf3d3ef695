"""A reader of job headers that was written from docs/job-header.md, with nothing but Python's standard library.

Reads a JSON list from standard input, one object per job: `keys` (each with `kid` and `secretHex` or `publicKeyHex`),
`prefix`, `queue`, `id`, and `hash`, the fields as Redis has them. Writes a list with `{"claims": […]}` or
`{"reason": "…"}` for each.
"""

import base64
import hashlib
import hmac
import json
import math
import re
import sys

CONTEXT = "tenantkit/queue/v1"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
KID = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
UNSEEN = re.compile("[\ud800-\udfff]")


class Refused(Exception):
    pass


def lp(*texts):
    fields = [text.encode("utf-8") for text in texts]
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def strict_base64url(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text) or len(text) % 4 == 1:
        raise Refused("malformed")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise Refused("malformed")
    return data


# Canonical JSON: RFC 8785 after the rules of the page.


def number(value):
    try:
        value = float(value)
    except OverflowError:
        raise Refused("malformed") from None
    if not math.isfinite(value) or float("%.13e" % value) != value:
        raise Refused("malformed")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    point = len(whole) + int(power or 0) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        text = digits.ljust(point, "0")
        text = text[:point] + ("." + text[point:] if len(text) > point else "")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        more = "." + digits[1:] if len(digits) > 1 else ""
        text = digits[0] + more + "e" + ("+" if point > 0 else "-") + str(abs(point - 1))
    return sign + text


ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def quoted(text, lone=False):
    written = []
    for character in text:
        if UNSEEN.match(character):
            if not lone:
                raise Refused("malformed")
            written.append("\\u%04x" % ord(character))
        elif character in ESCAPES:
            written.append(ESCAPES[character])
        elif character < " ":
            written.append("\\u%04x" % ord(character))
        else:
            written.append(character)
    return '"' + "".join(written) + '"'


def canonical(value, without=None):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]" if value else "{}"
    if isinstance(value, dict):
        keys = [key for key in value if value[key] is not None and key != without]
        keys.sort(key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(quoted(key) + ":" + canonical(value[key]) for key in keys) + "}"
    raise Refused("malformed")


def parsed(text):
    def no_number(_):
        raise Refused("malformed")

    try:
        return json.loads(text, parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Refused("malformed") from None


# Ed25519: RFC 8032, section 5.1.7. For a test: neither fast nor in constant time.

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
L = 2**252 + 27742317777372353535851937790883648493


def point(data):
    """The point, or None: y has to be reduced, and to have an x."""
    y = int.from_bytes(data, "little") & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != square or (x == 0 and data[31] >> 7):
        return None
    return (x if x % 2 == data[31] >> 7 else P - x, y)


def add(one, other):
    (a, b), (c, d) = one, other
    t = D * a * b * c * d
    return (a * d + b * c) * pow(1 + t, -1, P) % P, (b * d + a * c) * pow(1 - t, -1, P) % P


def times(scalar, base):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, base)
        base, scalar = add(base, base), scalar >> 1
    return result


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def sound(key):
    """Whether a public key may be used: a point in its one spelling, of more than small order."""
    at = point(key)
    return at is not None and times(8, at) != (0, 1)


def signed_by(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    if s >= L:
        return False
    x, y = times(k, point(key))
    x, y = add(times(s, BASE), (P - x, y))
    return (y | (x & 1) << 255).to_bytes(32, "little") == r


# The page's steps.


def mac_key(secret, prefix, queue):
    """HKDF-SHA-256 (RFC 5869): one block is as long as the key."""
    extracted = hmac.digest(CONTEXT.encode(), secret, "sha256")
    return hmac.digest(extracted, lp(prefix, queue) + b"\x01", "sha256")


def claims_of(text):
    claims = parsed(text)
    if not isinstance(claims, list) or len(claims) != 4:
        raise Refused("malformed")
    tenant, subject, actor, issued = claims
    good = (
        isinstance(tenant, str)
        and NAME.match(tenant)
        and (subject is None or isinstance(subject, str) and NAME.match(subject))
        and (actor is None or isinstance(actor, str) and 1 <= len(actor.encode("utf-16-be", "surrogatepass")) // 2 <= 256)
        and isinstance(issued, int)
        and not isinstance(issued, bool)
        and abs(issued) < 2**53
    )
    if not good:
        raise Refused("malformed")
    written = [item if item is None else quoted(item, lone=True) for item in (tenant, subject, actor)]
    if "[%s,%d]" % (",".join(item or "null" for item in written), issued) != text:
        raise Refused("malformed")
    return claims


def verify(job):
    stored, prefix, queue = job["hash"], job["prefix"], job["queue"]
    if "opts" not in stored:
        raise Refused("missing")
    options = parsed(stored["opts"])
    if not isinstance(options, dict):
        raise Refused("malformed")
    if "tk!" not in options:
        raise Refused("missing")
    header = options["tk!"]
    if not isinstance(header, str):
        raise Refused("malformed")
    if "name" not in stored or "" in (stored.get(field) for field in ("rjk", "parentKey", "deid")):
        raise Refused("mismatch")
    parent = canonical(parsed(stored["parent"])) if "parent" in stored else ""
    plain = canonical(options, without="tk!")

    parts = header.split(".") if len(header.encode("utf-16-be", "surrogatepass")) <= 2 * 4096 else []
    if len(parts) != 4 or parts[0] != "v1" or not KID.match(parts[1]):
        raise Refused("malformed")
    _, kid, said, signature = parts
    key = next((key for key in job["keys"] if key["kid"] == kid), None)
    if key is None:
        raise Refused("unknownKey")
    text, signature = strict_base64url(said), strict_base64url(signature)
    if len(signature) != (32 if "secretHex" in key else 64):
        raise Refused("malformed")
    fields = [header[: header.rindex(".")], prefix, queue, stored.get("name", ""), job["id"]]
    fields += [stored.get("rjk", ""), stored.get("parentKey", ""), parent, stored.get("deid", "")]
    fields += [plain, stored.get("data", "")]
    if "secretHex" in key:
        secret = mac_key(bytes.fromhex(key["secretHex"]), prefix, queue)
        holds = hmac.compare_digest(hmac.digest(secret, lp(*fields), "sha256"), signature)
    else:
        holds = signed_by(bytes.fromhex(key["publicKeyHex"]), lp(CONTEXT, *fields), signature)
    if not holds:
        raise Refused("mismatch")
    try:
        claims = claims_of(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused("malformed") from None
    if not job["id"].startswith(claims[0] + "~") or not stays(stored, prefix, claims[0]):
        raise Refused("mismatch")
    return claims


def stays(stored, prefix, tenant):
    """Whether a job has no parent, or one of the same tenant under one key."""
    key = stored.get("parentKey", "")
    if key == "" or "parent" not in stored:
        return key == "" and "parent" not in stored
    parent = parsed(stored["parent"])
    if not isinstance(parent, dict):
        return False
    at, found = parent.get("queueKey"), parent.get("id")
    if not isinstance(at, str) or not isinstance(found, str) or key != at + ":" + found:
        return False
    lane = re.fullmatch(re.escape(prefix) + ":[^:~]+~([A-Za-z0-9_-]+)", at)
    return lane is not None and lane[1] == tenant and found.startswith(tenant + "~") and ":" not in found


def answer(job):
    try:
        if "soundHex" in job:
            return {"sound": sound(bytes.fromhex(job["soundHex"]))}
        return {"claims": verify(job)}
    except Refused as refused:
        return {"reason": str(refused)}


if __name__ == "__main__":
    json.dump([answer(job) for job in json.load(sys.stdin.buffer)], sys.stdout)
