"""The statements and commands that the schemes use against MySQL, Redis and Kafka: nothing generic, and the
only place of `schemes` that imports a database client."""
