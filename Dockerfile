# syntax=docker/dockerfile:1
# moeswarm in a container: docker build -t moeswarm . && docker run --rm moeswarm --help

FROM node:20-slim AS build
WORKDIR /src
# The settings of npm (.npmrc) come with it: they leave out onnxruntime's CUDA libraries, which need another download.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY node ./node
COPY swarm ./swarm
COPY model-tools ./model-tools
COPY scripts ./scripts
COPY test ./test
RUN npm run -s build && npm prune --omit=dev --ignore-scripts \
 # onnxruntime-node brings its libraries for three systems; this image runs on one.
 && rm -rf node_modules/onnxruntime-node/bin/napi-v6/darwin node_modules/onnxruntime-node/bin/napi-v6/win32 dist/test dist/scripts

FROM node:20-slim
ENV NODE_ENV=production XDG_DATA_HOME=/data XDG_STATE_HOME=/data/state XDG_CONFIG_HOME=/etc
WORKDIR /data
# The user `node` (1000) is in the base image. Models, keys and traces live in the volume.
RUN mkdir /model && chown node:node /data /model
COPY --from=build /src/package.json /app/package.json
COPY --from=build /src/node_modules /app/node_modules
COPY --from=build /src/dist /app/dist
RUN ln -s /app/dist/node/cli/main.js /usr/local/bin/moeswarm && chmod +x /app/dist/node/cli/main.js
USER node
VOLUME /data
EXPOSE 4001
# A peer that serves metrics (peer --metrics 127.0.0.1:9464) is healthy while it answers; set HEALTH_URL to '' for commands that end by themselves.
ENV HEALTH_URL=http://127.0.0.1:9464/healthz
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["node", "-e", "const u = process.env.HEALTH_URL; if (u) fetch(u).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# PID 1 has no default handlers of signals; moeswarm sets its own, so that `docker stop` finishes the requests in flight.
STOPSIGNAL SIGTERM
ENTRYPOINT ["moeswarm"]
CMD ["--help"]
