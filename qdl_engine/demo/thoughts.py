"""Written working: the chains of reasoning that carry the demo's arithmetic.

Each line does one step that a very small model can do in a single forward pass, and shows every number that
the step needs before it shows the result. A line that asks for the result first is one that the teacher
gets wrong.
"""


def add_columns(a: int, b: int) -> str:
    """Column addition from the right; each line is digit + digit + carry = two-digit sum."""
    first, second = _padded(a, b)
    carry, lines = 0, []
    for x, y in zip(first, second, strict=True):
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02d}")
        carry = total // 10
    return "\n".join(lines)


def subtract_columns(a: int, b: int) -> str:
    """Column subtraction of b from a (a >= b); each line ends with the digit and whether it borrows."""
    first, second = _padded(a, b)
    borrow, lines = 0, []
    for x, y in zip(first, second, strict=True):
        total = x - y - borrow
        borrows = int(total < 0)
        lines.append(f"{x}-{y}-{borrow}={total % 10} b{borrows}")
        borrow = borrows
    return "\n".join(lines)


def multiply_columns(a: int, digit: int) -> str:
    """Column multiplication by one digit; each line is digit * digit + carry = two-digit product."""
    carry, lines = 0, []
    for x in _digits(a):
        total = x * digit + carry
        lines.append(f"{x}*{digit}+{carry}={total:02d}")
        carry = total // 10
    return "\n".join(lines)


def convert_units(amount: int, factor: int) -> str:
    """The product of an amount below 100 and a unit's factor, by the shortest honest way."""
    if factor in (10, 100, 1000):
        return f"{amount}*{factor}={amount * factor}"
    if factor < 10:
        return multiply_columns(amount, factor)
    tens, ones = divmod(factor, 10)
    lines = [_split_product(amount, tens, "0")]
    if ones:
        lines += [_split_product(amount, ones), add_columns(amount * tens * 10, amount * ones)]
    return "\n".join(lines)


def _split_product(amount: int, digit: int, zeros: str = "") -> str:
    """`35*4=120+20=140`: tens and ones apart, because the whole product in one step is a matter of luck."""
    tens, ones = amount // 10 * 10 * digit, amount % 10 * digit
    parts = f"{tens}{zeros}+{ones}{zeros}=" if tens and ones else ""
    return f"{amount}*{digit}{zeros}={parts}{tens + ones}{zeros}"


def compare_digits(a: int, b: int) -> str:
    """Digit pairs from the left up to the first that differs; the sign comes after both digits."""
    lines = []
    for x, y in zip(str(a), str(b), strict=True):
        lines.append(f"{x} {y} {'=' if x == y else '>' if x > y else '<'}")
        if x != y:
            break
    return "\n".join(lines)


def _digits(number: int) -> list[int]:
    """The decimal digits, ones first."""
    return [int(digit) for digit in reversed(str(number))]


def _padded(a: int, b: int) -> tuple[list[int], list[int]]:
    """The digits of both numbers, ones first, filled up with zeros to one length."""
    width = max(len(str(a)), len(str(b)))
    return _digits(a) + [0] * (width - len(str(a))), _digits(b) + [0] * (width - len(str(b)))
