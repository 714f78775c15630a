"""Calls a URL again and again with the token of a mounted Secret:

    python3 examples/readers/python/reader.py /var/run/payu/access_token https://api.example.com/orders 1s
"""

import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def call(request: Request, file: str):
    """Is urlopen, with the token that the file holds now."""
    token = read(file)
    try:
        return send(request, token)
    except HTTPError as refusal:
        if refusal.code != 401 or (fresh := newer(file, token)) is None:
            raise  # there is no newer token: the 401 is final
        refusal.close()
    return send(request, fresh)


def newer(file: str, token: str):
    """Waits for a moment until the file holds another token, and returns that; None if none comes."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if (fresh := read(file)) != token:
            return fresh
        time.sleep(0.05)
    return None


def read(file: str) -> str:
    """Opens the file once more if it is not there: the kubelet was just exchanging the directory behind it."""
    try:
        return Path(file).read_text()
    except FileNotFoundError:
        return Path(file).read_text()


def send(request: Request, token: str):
    request.add_header("Authorization", f"Bearer {token}")
    return urlopen(request)


file, url, pause = sys.argv[1:]
while True:
    try:
        with call(Request(url), file) as answer:
            print(answer.status, flush=True)
    except HTTPError as refusal:
        print(refusal.code, flush=True)
    time.sleep(float(pause.removesuffix("s")))
