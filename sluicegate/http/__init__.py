"""The HTTP side of the server: the REST API, its events, its documentation, the web app and the metrics.

`app.build_app` makes the aiohttp application; `connections.ApiRunner` serves it with bounds on connections and slow
clients.
"""
