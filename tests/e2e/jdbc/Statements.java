import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import org.postgresql.PGStatement;

/** Prepared statements, batches, cursors, savepoints. */
final class Statements {
  private static final int PAST_THRESHOLD = 12; // the driver prepares on the server from the 5th execution on

  public static void statementsAreServerPreparedAfterFiveExecutions() throws Exception {
    try (Connection one = Checks.connect(); Connection two = Checks.connect()) {
      // Both get the driver's names S_1, S_2: for different statements.
      try (PreparedStatement sum = one.prepareStatement("select ?::int + ?::int");
          PreparedStatement text = two.prepareStatement("select ?::text || '!'")) {
        for (int turn = 0; turn < 3 * PAST_THRESHOLD; turn++) {
          Checks.equal(String.valueOf(2 * turn), Checks.value(sum, turn, turn));
          Checks.equal(turn + "!", Checks.value(text, String.valueOf(turn)));
        }
        Checks.check(sum.unwrap(PGStatement.class).isUseServerPrepare(), "prepared on the server");
      }
    }
  }

  public static void manyStatementsAreCachedAndEvicted() throws Exception {
    try (Connection connection = Checks.connect("prepareThreshold", "1", "preparedStatementCacheQueries", "8")) {
      for (int turn = 0; turn < 3; turn++) {
        for (int number = 0; number < 20; number++)
          Checks.equal(String.valueOf(number + turn), Checks.value(connection, "select ?::int + " + number, turn));
      }
    }
  }

  public static void binaryTransferFromTheFirstExecution() throws Exception {
    try (Connection connection = Checks.connect("prepareThreshold", "-1")) {
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
        Checks.equal(String.valueOf(turn), Checks.value(connection, "select ?::int4", turn));
        Checks.equal("1.5", Checks.value(connection, "select ?::float8", 1.5));
      }
    }
  }

  public static void simpleProtocolAndUnnamedStatements() throws Exception {
    for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
      try (Connection connection = Checks.connect("preferQueryMode", mode)) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) Checks.equal("7", Checks.value(connection, "select ?::int + 4", 3));
        try (Statement statement = connection.createStatement()) {
          Checks.check(statement.execute("select 1; select 2; select 3"), "rows");
          for (int number = 1; number <= 3; number++) {
            ResultSet rows = statement.getResultSet();
            Checks.check(rows.next() && rows.getInt(1) == number, "result " + number);
            statement.getMoreResults();
          }
        }
      }
    }
  }

  public static void aStatementIsTheClientsOwnAfterDeallocateAll() throws Exception {
    try (Connection connection = Checks.connect(); PreparedStatement statement = connection.prepareStatement("select ?::int * 2")) {
      for (String forget : new String[] {"deallocate all", "discard all"}) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) Checks.equal("42", Checks.value(statement, 21));
        Checks.execute(connection, forget);
      }
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) Checks.equal("42", Checks.value(statement, 21));
      Checks.fails("26000", () -> Checks.execute(connection, "execute never_prepared"));
      Checks.fails("26000", () -> Checks.execute(connection, "deallocate never_prepared"));
    }
  }

  /** PostgreSQL refuses the old plan, or the rows are new ones under their own names: never new rows read as old ones. */
  public static void aTableThatChangesUnderAPreparedStatement() throws Exception {
    try (Connection owner = Checks.connect(); Connection reader = Checks.connect()) {
      Checks.execute(owner, "drop table if exists changing", "create table changing (v int)", "insert into changing values (7)");
      try (PreparedStatement statement = reader.prepareStatement("select * from changing")) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) Checks.equal("7", Checks.value(statement));
        // Four characters: as long as the binary integer that the driver has come to expect.
        Checks.execute(owner, "alter table changing alter v type text using 'four'");
        equalOrStale("four", reader, statement);
        Checks.execute(owner, "alter table changing add w int not null default 5");
        equalOrStale("four", reader, statement);
        Checks.execute(owner, "alter table changing drop v");
        equalOrStale("5", reader, statement);
      }
      Checks.equal("5", Checks.value(reader, "select * from changing /* again */"));
    }
  }

  private static void equalOrStale(String expected, Connection reader, PreparedStatement statement) throws SQLException {
    for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
      try {
        Checks.equal(expected, Checks.value(statement));
      } catch (SQLException stale) {
        Checks.equal("0A000", stale.getSQLState());
        Checks.check(stale.getMessage().contains("cached plan must not change result type"), stale.getMessage());
        Checks.execute(reader, "deallocate all"); // what makes the driver prepare anew
      }
    }
    Checks.equal(expected, Checks.value(statement));
  }

  public static void theDriverRetriesAStalePlanInATransaction() throws Exception {
    try (Connection owner = Checks.connect(); Connection reader = Checks.connect("autosave", "conservative")) {
      Checks.execute(owner, "drop table if exists retried", "create table retried (v int)", "insert into retried values (7)");
      reader.setAutoCommit(false);
      try (PreparedStatement statement = reader.prepareStatement("select * from retried")) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
          Checks.equal("7", Checks.value(statement));
          reader.commit();
        }
        Checks.execute(owner, "alter table retried alter v type text using 'four'");
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
          Checks.equal("four", Checks.value(statement));
          reader.commit();
        }
      }
    }
  }

  /** The same text in two schemas: it is prepared for the search_path that its client has. */
  public static void preparedStatementsFollowTheirSchema() throws Exception {
    try (Connection red = Checks.connect(); Connection blue = Checks.connect("prepareThreshold", "1")) {
      Connection[] both = {red, blue};
      String[] names = {"red", "blue"};
      PreparedStatement[] statements = new PreparedStatement[2];
      for (int number = 0; number < 2; number++) {
        String schema = "schema_" + names[number];
        Checks.execute(both[number], "drop schema if exists " + schema + " cascade", "create schema " + schema,
            "create table " + schema + ".coloured as select '" + names[number] + "' as colour");
        both[number].setSchema(schema);
        Checks.equal(schema, both[number].getSchema());
        statements[number] = both[number].prepareStatement("select colour from coloured");
      }
      for (int turn = 0; turn < 2 * PAST_THRESHOLD; turn++) {
        for (int number = 0; number < 2; number++) Checks.equal(names[number], Checks.value(statements[number]));
      }
      red.setSchema("schema_blue");
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
        for (PreparedStatement statement : statements) Checks.equal("blue", Checks.value(statement));
      }
    }
  }

  public static void batches() throws Exception {
    for (String rewrite : new String[] {"false", "true"}) {
      try (Connection connection = Checks.connect("reWriteBatchedInserts", rewrite)) {
        Checks.execute(connection, "drop table if exists batched", "create table batched (n int primary key, t text)");
        try (PreparedStatement insert = connection.prepareStatement("insert into batched values (?, ?)")) {
          for (int number = 0; number < 2000; number++) addBatch(insert, number);
          Checks.equal(2000, insert.executeBatch().length);
          connection.setAutoCommit(false);
          for (int number : new int[] {5000, 5001, 17, 5002}) addBatch(insert, number);
          SQLException failure = Checks.fails("23505", insert::executeBatch);
          Checks.check(failure instanceof BatchUpdateException, "a BatchUpdateException");
          Checks.fails("25P02", () -> Checks.value(connection, "select 1"));
          connection.rollback();
        }
        Checks.equal("2000", Checks.value(connection, "select count(*) from batched where t = 'row ' || n"));
        connection.commit();
      }
    }
  }

  private static void addBatch(PreparedStatement insert, int number) throws SQLException {
    insert.setInt(1, number);
    insert.setString(2, "row " + number);
    insert.addBatch();
  }

  public static void generatedKeys() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists keyed", "create table keyed (id serial primary key, n int)");
      try (PreparedStatement insert =
          connection.prepareStatement("insert into keyed (n) values (?)", Statement.RETURN_GENERATED_KEYS)) {
        for (int number = 1; number <= 50; number++) {
          insert.setInt(1, number);
          insert.addBatch();
          if (number % 10 != 0) continue;
          insert.executeBatch();
          try (ResultSet keys = insert.getGeneratedKeys()) {
            for (int id = number - 9; id <= number; id++) Checks.check(keys.next() && keys.getInt("id") == id, "key " + id);
          }
        }
      }
    }
  }

  public static void fetchSizeReadsThroughAPortal() throws Exception {
    try (Connection connection = Checks.connect()) {
      connection.setAutoCommit(false);
      for (int turn = 0; turn < 8; turn++) {
        try (PreparedStatement statement = connection.prepareStatement("select generate_series(1, ?)")) {
          statement.setFetchSize(100);
          statement.setInt(1, 1000);
          int sum = 0;
          try (ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
              sum += rows.getInt(1);
              if (rows.getInt(1) % 250 == 0) Checks.equal("between", Checks.value(connection, "select 'between'"));
            }
          }
          Checks.equal(500500, sum);
        }
        connection.commit();
      }
    }
  }

  public static void scrollableAndUpdatableResults() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists updatable", "create table updatable (n int primary key, t text)",
          "insert into updatable select g, 'old' from generate_series(1, 10) g");
      try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
          ResultSet rows = statement.executeQuery("select n, t from updatable order by n")) {
        Checks.check(rows.absolute(7), "row 7");
        rows.updateString("t", "new");
        rows.updateRow();
        Checks.check(rows.first() && rows.getInt(1) == 1, "back to row 1");
      }
      Checks.equal("7", Checks.value(connection, "select n from updatable where t = 'new'"));
    }
  }

  public static void savepoints() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists saved", "create table saved (n int primary key)");
      connection.setAutoCommit(false);
      Checks.execute(connection, "insert into saved values (1)");
      Savepoint savepoint = connection.setSavepoint("here");
      Checks.fails("23505", () -> Checks.execute(connection, "insert into saved values (1)"));
      Checks.fails("25P02", () -> Checks.execute(connection, "insert into saved values (2)"));
      connection.rollback(savepoint);
      Checks.execute(connection, "insert into saved values (3)");
      connection.releaseSavepoint(savepoint);
      connection.commit();
      Checks.equal("4", Checks.value(connection, "select sum(n) from saved"));
      connection.rollback();
    }
  }

  public static void autosaveGoesOnAfterAnError() throws Exception {
    try (Connection connection = Checks.connect("autosave", "always", "cleanupSavepoints", "true")) {
      Checks.execute(connection, "drop table if exists autosaved", "create table autosaved (n int primary key)");
      connection.setAutoCommit(false);
      try (PreparedStatement insert = connection.prepareStatement("insert into autosaved values (?)")) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
          insert.setInt(1, turn);
          insert.executeUpdate();
          Checks.fails("23505", insert::executeUpdate);
        }
      }
      connection.commit();
      Checks.equal(String.valueOf(PAST_THRESHOLD), Checks.value(connection, "select count(*) from autosaved"));
      connection.commit();
    }
  }

  public static void callableStatements() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "create or replace procedure doubled(inout n int) language plpgsql as 'begin n := n * 2; end'");
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
        try (CallableStatement call = connection.prepareCall("{? = call upper(?)}")) {
          call.registerOutParameter(1, Types.VARCHAR);
          call.setString(2, "loud");
          call.execute();
          Checks.equal("LOUD", call.getString(1));
        }
        try (CallableStatement call = connection.prepareCall("call doubled(?)")) {
          call.setInt(1, turn);
          call.registerOutParameter(1, Types.INTEGER);
          call.execute();
          Checks.equal(2 * turn, call.getInt(1));
        }
      }
    }
  }

  public static void sqlstates() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists strict",
          "create table strict (n int primary key check (n < 10), t text not null)");
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
        Checks.execute(connection, "delete from strict", "insert into strict values (1, 'x')");
        Checks.fails("23505", () -> Checks.execute(connection, "insert into strict values (1, 'x')"));
        Checks.fails("23514", () -> Checks.execute(connection, "insert into strict values (11, 'x')"));
        Checks.fails("23502", () -> Checks.execute(connection, "insert into strict values (2)"));
        Checks.fails("42P01", () -> Checks.value(connection, "select * from no_such_table"));
        Checks.fails("42601", () -> Checks.execute(connection, "selec 1"));
        Checks.fails("22012", () -> Checks.value(connection, "select 1 / ?", 0));
        Checks.fails("22P02", () -> Checks.value(connection, "select ?::text::int", "no number"));
      }
    }
  }
}
