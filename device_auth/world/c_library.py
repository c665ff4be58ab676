"""Call the C library of this program, where Python offers no function for it."""


def call_c(name: str, *arguments: int | bytes | None) -> int:
    """Call a C function and return its result.

    Of ctypes only the part in C is loaded, and only now, as the rest costs each start.

    Args:
        name: of a function that returns an int.
        arguments: ints as C has them, and bytes for what the function only reads.

    Raises:
        OSError: if this Python cannot call C functions, or the library has none of that name.
    """
    try:
        from _ctypes import call_cdeclfunction, dlopen, dlsym
    except ImportError as error:
        raise OSError(str(error)) from error
    program = dlopen(None, 0)  # type: ignore[arg-type]  # None stands for this program itself
    return int(call_cdeclfunction(dlsym(program, name), arguments))
