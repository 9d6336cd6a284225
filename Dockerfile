# One image for all hosts of a federation: docs/how-to/deploy.md says how each is started.
FROM python:3.11-slim
RUN useradd --create-home polyrank
WORKDIR /opt/polyrank
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -c constraints.txt '.[nvflare]'
USER polyrank
WORKDIR /home/polyrank
ENTRYPOINT ["polyrank"]
