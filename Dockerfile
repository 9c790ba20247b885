# By the digest of the index of all platforms; CONTRIBUTING.md says how to renew it.
FROM python:3.11.16-slim-trixie@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

# git and ssh clone the repositories of sessions, bubblewrap confines agents and git; everything else is Python wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/ambient-public-api

COPY requirements.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes --only-binary :all: -r requirements.lock

COPY LICENSE .
COPY openapi openapi
COPY handlers handlers
COPY app app

# The user owns the data and may only read the rest, so byte code has to be there before.
RUN python -m compileall -q app handlers \
    && chmod -R a+rX . \
    && useradd --uid 10001 --create-home ambient \
    && install --directory --owner ambient --group ambient --mode 700 /data /keys
USER 10001

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    DATA_DIR=/data \
    SECRETS_KEY_FILE=/keys/secrets.key
VOLUME /data /keys
EXPOSE 8081

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('PORT') or '8081') + '/health', timeout=2)"]

CMD ["python", "-m", "app", "serve"]
