"""The seccomp program of containers with the usual capabilities, compiled. Pure.

Compiling it takes as long as everything else in the plan of a container. It is what `profiles.compile_rules` makes of
`default_profile.default_rules`: a test compares them, and says what to write here when the rules change.
"""

from __future__ import annotations

import binascii
import zlib

CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
# By machine (its uname): compressed, in base64.
_PROGRAMS = {
    "x86_64": (
        "eNrtl01IVFEUx8911JmoQa0mzRzU8gPNAaU0P8okI4IWWZmBEkHhB0Et+q5FLgrTaplJRRQEoS1V/EIidCm4qRa1iKCWLVpVYGnv3fef"
        "eD7uP960lAZnru+8+/ufe86959378kQk2fpGREm9yKsU6/9F65snzqdSrBsiDanWT5GkWNeTkqls+4A81vfPyi3ddkiNbtukVLdKSqw2"
        "Vassddt6661voQS0JSISEvhJd/ykxq+dfsnxfknufoWW7uoEdcM+ddcmqBvxqbshQd0sn7pZCepm+9TNT1B3i0/dggR1i33qFieoW+JT"
        "N+bStVul17+SaoO/ZtRLxCmnPzqOPel6xKkjg15AulAvncRfj9GeJ3c1lyN9us2WXldclr+Aexxe/3/rF/LZz06ZPz1//ZasjzdOdx7u"
        "kPw9RP4ekPw9MtrT5KvmgvJWtwGZgs4zovOG+P8M7hPhvhjtQVmA3+/gvxH+B/GrlMPZfyYu3WW3rzNwHc+rY8+VJq2TJtuVk48y5Yyr"
        "FPpZRk7JVqM9IOXgYoSrMNqD0gC/1eArCV9L/DaC20O4vUZ7mkwg7hH4H4LOINEZJv7HwI3ifpGHGydxz8DvFPhJ4nea+J0DN0u4eZfd"
        "vn7tWS/2OPNc5wCrMBvsc8Bp5T4HDMi0buukSbdRKddt2HoC2W2KXcNaP0OWr7t1Yh73RvTPFPO4s8Wcr82om1zwUcLnE79l4AoIFzPa"
        "w7ITcVaBr5Dled1G6rQG/atJfdeS58M+xLkbfD3hG4nfA+D2E+6g0R6VK5jXdsTbAp1mz7weJfk9if6tJL+nyLyeQbyd4DsI30X8ngd3"
        "jnAXjPYY9s810q3bkFx17aP/vq8ruUbG2YNx3iTj7HXZV9p+bs/zc8xzP/Jwm+ThPsnfELhBwr0w2uukVTnPrRzlrO+fWN/voffSU8/v"
        "SF19RP8PZN4XSD2vwnN+EfwvwoeU2W8Ez/kMst9vMtrDsks5cRaBj3rOBflkX6lC/2Kyr+wg+9lhxNkEvp7wh4jfFnBHCHfMaL8oTzXX"
        "Ll2I9wR02jz733GS3w70byf57VT/32f/v8+utPfZoPShXi9j/V8i6/8GqZt+cPcI90SZ378mce4ehf9h6AwRnRHDudXmxsGNEW5CmeOe"
        "hd9p8FOEnyFxz4ObI5zpnB2//xtxlW6M"
    ),
    "aarch64": (
        "eNrtl11IVEEUx8/sqnez/NitrVUrdsuPooQiDN0sIyGCisos2jQiIxBKsrRSk4SyqB4sKHuLiiDcejNxzaSkoB6CXnzqE+m1l4pe6iG7"
        "d+5/9e5lTtzbo7gg4507v/+ZOTNnzrlhIkrT/4IkKEE0mq7/7xFEYTJ/ZfSUvso2Ss2yzaH1stVohWy9NFe2ggJ6myGpiS6jFZQu+0uU"
        "/V5aBy7KcJXK/jAdgN394GMMX2/pN9YzT65TB8lcX675LMjhOJ9jPY9DPWfjJvSfyn8NWP8hZv2Nln7j+SiejfdT/Tn0EPvZA7+2QveE"
        "crygU8p+L90Dd43h7iv7D9I72H0F/pFyXIxewy+Gn4pMNxn+8Vn9VYYlT41LS47zWMcV6eqzFfv5L90sh7oBl7pBh7rzXeqGHOqGXOrm"
        "O9SNuNRd6lC30KVuiUPdEpe6yx3qliric+pcZ9InnPuPlnOf1K3FPRw0r+lJXbPfc85+f1njf9wW/1+UcRWhAmHe67OEeQ/8RDx+x7y+"
        "MfH8g7kHMoTJpQk1pyn7NcoVpt054DMZPkuo7YbABRguz9JvPOcLld/8NAQ/9GM+fdAtFmo/x4U6vw2Ae2x7XwxuUKTuT4LxywvMYxh6"
        "T5j1jTB+eQPuJcO9tfllTDHfsKVOWEa00agTelLqhDjySDVtl22EVqJeWID8ko1z5cO50phzm8XUC8k6w89wQWW/RotgNx98HsMXMHYj"
        "4BYz3BJbnBUyeTYKP6zBfFZBt5SJr9VMfJWDW8twFaQ+R9WwuwF8JcNXMXa3gNvMcFsp9RxtU/orIusHwx918MduzGsn9Hcwfq5h9mcP"
        "uFqG28uci0bYPQy+geGPMHZPgmtiuBbbuWhV+i1El6RONnVgPm3QPa0c76N2S9753/xgXUcn7J1l1tFlW0e3cl5h6pU6C+kK9C4r8tn0"
        "qb8FXWXi5AHWf4uJkz5bnMSVfr9NZ+S93U5lyM+/ES8fcE6ewc4Is2/vmXM7Du4zw/1i4kVDHiLkkz8Mn8HkwwC4HCaP5qXkw5jMzzP1"
        "/ky9P73qfT/FUF9WIZ4qEBflTH0WZeq6XeA2MVyNra7bJ9Rx3YR51EOvjonPY0xcN4M7znAttjq3Vai/QwZwz12Hf85jXh3Qb2PW2cn4"
        "pxvcBYa7yNTbd2D3JvgbDN/L2I2Du8tw/bZ9UX8f+FH3a7LeN3QT0B1k/DzE7M8IuGGGe27bn1HGL2OYh5vvCatfvPreGu/1DEDJdVq5"
        "dPRP5hE8q+qWv0toiS8="
    ),
}


def usual_filter(capabilities: tuple[str, ...], machine: str) -> bytes | None:
    """Return the program for these capabilities, None if it has to be compiled."""
    text = _PROGRAMS.get(machine) if frozenset(capabilities) == CAPABILITIES else None
    return None if text is None else zlib.decompress(binascii.a2b_base64(text))
