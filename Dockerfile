# The agent as a container: slim, no root, healthy while every tunnel is connected. See docs/services.md.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE requirements.lock requirements-build.lock ./
COPY src ./src
COPY man ./man
# Wheels whose hashes are known, and nothing else: an archive of sources would bring tools of its own, without hashes.
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements-build.lock \
    && /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build . \
    && python -m venv /opt/ioconnect \
    && /opt/ioconnect/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements.lock \
    && /opt/ioconnect/bin/pip install --no-cache-dir --no-deps /build/ioconnect-*.whl

FROM python:3.13-slim
COPY --from=build /opt/ioconnect /opt/ioconnect
# A fixed uid, so that a mounted folder can be given to it: chown -R 10001 DIR
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/ioconnect --shell /usr/sbin/nologin ioconnect \
    && install -d -o ioconnect -g ioconnect -m 0700 /var/lib/ioconnect
ENV PATH=/opt/ioconnect/bin:$PATH \
    IOCONNECT_HOME=/var/lib/ioconnect \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
VOLUME /var/lib/ioconnect
# 0: all connected; 75: it runs but one is not; 69: it does not run.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["ioconnect", "status", "--check"]
# The agent is process 1: it ends on TERM, leaves the jumphost cleanly, and has no children to leave behind.
STOPSIGNAL SIGTERM
ENTRYPOINT ["ioconnect"]
CMD ["up"]
