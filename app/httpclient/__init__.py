"""A small HTTP/1.1 client for one server, over asyncio and httptools.

    client = HttpClient("https://platform.example.com", timeout=30)
    response = await client.request("GET", "/health", {})
    async with client.stream("/export", {}) as streamed:
        async for piece in streamed: ...
    await client.close()

It reuses connections, bounds every wait and every body that it reads as a whole, and slows a server down to the pace of
whoever reads a stream. It sends what it is given and returns what it receives. By design it has

* no redirects, cookies, proxies, authentication or retries, except for a GET on a reused connection that turns out to
  be closed;
* no decompression: it asks for `identity`;
* no limit for the number of connections: there are as many as there are concurrent requests;
* no upload of streams, no HEAD, no CONNECT, no upgrades, no pipelining, no HTTP/2.

`client` pools the connections, `h1` is the protocol of one of them.
"""
