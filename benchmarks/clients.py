"""The processor time of one question, by client, against a loopback server with a fixed delay.

    python benchmarks/clients.py

All send the same requests (an oracle's, of ten steps) to the same server, 256 in flight, in one
process and one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from atlas.models.base import Sampling
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.openai_api import ChatClient, chat_request
from atlas.selection.judging.oracle_prompt import ANSWER_SCHEMA, ORACLE_PROMPT
from atlas.selection.judging.prompt import JudgeQuestion
from selection import make_trajectory

SERVER = Path(__file__).with_name("loopback_server.py")
Ask = Callable[[JudgeQuestion], Awaitable[Any]]
Close = Callable[[], Awaitable[Any]]
SAMPLING = Sampling(response_schema=ANSWER_SCHEMA)
KEY = "no-key"


def with_aiohttp(url: str) -> tuple[Ask, Close]:
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Content-Type": "application/json"}
    )

    async def ask(question: JudgeQuestion) -> Any:
        data = json.dumps(chat_request("loopback", question.messages, SAMPLING)).encode()
        async with session.post(f"{url}/chat/completions", data=data) as response:
            return json.loads(await response.read())

    return ask, session.close


def with_httpx2(url: str) -> tuple[Ask, Close]:
    import httpx2

    client = httpx2.AsyncClient(
        timeout=None, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    )

    async def ask(question: JudgeQuestion) -> Any:
        return (
            await client.post(
                f"{url}/chat/completions",
                json=chat_request("loopback", question.messages, SAMPLING),
            )
        ).json()

    return ask, client.aclose


def with_openai(url: str) -> tuple[Ask, Close]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)
    return lambda question: client.chat.completions.create(
        **chat_request("loopback", question.messages, SAMPLING)
    ), client.close


def with_inspect(url: str) -> tuple[Ask, Close]:
    from atlas.models.endpoints.inspect_api import InspectClient

    # inspect_ai takes the address of a server only from the environment.
    os.environ |= {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": KEY}
    client = InspectClient("openai-api/loopback/loopback", Endpoint())
    return lambda question: client.complete(question.messages, SAMPLING), client.close


def with_atlas(url: str) -> tuple[Ask, Close]:
    client = ChatClient("loopback", Endpoint(base_url=url))
    return lambda question: client.complete(question.messages, SAMPLING), client.close


WAYS = {
    "only aiohttp": with_aiohttp,
    "atlas": with_atlas,
    "only httpx2": with_httpx2,
    "openai SDK": with_openai,
    "inspect_ai": with_inspect,
}


async def measure(
    connect: Callable[[str], tuple[Ask, Close]], url: str, count: int, in_flight: int
) -> tuple[float, float]:
    """Milliseconds of processor time per question, and questions per second."""
    ask, close = connect(url)
    questions = [
        ORACLE_PROMPT.questions(make_trajectory(number), 3, 200_000)[0] for number in range(50)
    ]
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await ask(questions[number % len(questions)])

    # What is loaded or connected once is not a cost of a question.
    await ask(questions[0])
    start, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*[work() for _ in range(in_flight)])
    wall, busy = time.perf_counter() - start, time.process_time() - busy
    await close()
    return 1000 * busy / count, count / wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that the server takes")
    given = parser.parse_args()
    command = [sys.executable, str(SERVER), "--delay", str(given.delay)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        for name, connect in WAYS.items():
            cost, rate = asyncio.run(measure(connect, url, given.questions, given.in_flight))
            print(
                f"{name:14} {cost:6.2f} ms of processor time per question, "
                f"{rate:6.0f} questions per second",
                flush=True,
            )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
