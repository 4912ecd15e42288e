import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** Session state, notifications, cancelling. */
final class Sessions {
  private static final int TURNS = 12; // so that every server has its turn

  public static void extraFloatDigits() throws Exception {
    for (String version : new String[] {"8.4", "15"}) { // from 9.0 on in the startup packet, else with SET
      try (Connection connection = Checks.connect("assumeMinServerVersion", version, "ApplicationName", "checks")) {
        for (int turn = 0; turn < TURNS; turn++) {
          Checks.equal("3", Checks.value(connection, "show extra_float_digits"));
          Checks.equal("checks", Checks.value(connection, "show application_name"));
        }
      }
    }
  }

  public static void startupOptionsAndTimeZone() throws Exception {
    java.util.TimeZone before = java.util.TimeZone.getDefault();
    java.util.TimeZone.setDefault(java.util.TimeZone.getTimeZone("Asia/Kolkata")); // sent at startup
    try (Connection connection = Checks.connect("options", "-c statement_timeout=50s -c app.tenant=jdbc", "currentSchema", "pg_catalog")) {
      for (int turn = 0; turn < TURNS; turn++) {
        Checks.equal("Asia/Kolkata", Checks.value(connection, "show timezone"));
        Checks.equal("50s", Checks.value(connection, "show statement_timeout"));
        Checks.equal("jdbc", Checks.value(connection, "show app.tenant"));
        Checks.equal("pg_catalog", connection.getSchema());
      }
    } finally {
      java.util.TimeZone.setDefault(before);
    }
  }

  public static void clientInfo() throws Exception {
    try (Connection connection = Checks.connect()) {
      connection.setClientInfo("ApplicationName", "renamed");
      for (int turn = 0; turn < TURNS; turn++) Checks.equal("renamed", Checks.value(connection, "show application_name"));
    }
  }

  public static void schema() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop schema if exists jdbc_one cascade", "create schema jdbc_one", "create table jdbc_one.only_here (n int)");
      connection.setSchema("jdbc_one");
      for (int turn = 0; turn < TURNS; turn++) {
        Checks.equal("jdbc_one", connection.getSchema());
        Checks.equal("0", Checks.value(connection, "select count(*) from only_here"));
      }
    }
  }

  public static void isolationLevels() throws Exception {
    try (Connection connection = Checks.connect()) {
      connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      for (int turn = 0; turn < TURNS; turn++) Checks.equal("serializable", Checks.value(connection, "show transaction_isolation"));
      connection.setAutoCommit(false);
      for (int turn = 0; turn < TURNS; turn++) {
        Checks.equal(Connection.TRANSACTION_SERIALIZABLE, connection.getTransactionIsolation());
        connection.commit();
      }
      connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      for (int turn = 0; turn < TURNS; turn++) {
        Checks.equal("read committed", Checks.value(connection, "show transaction_isolation"));
        connection.commit();
      }
    }
  }

  public static void readOnlyConnections() throws Exception {
    try (Connection writer = Checks.connect()) {
      Checks.execute(writer, "drop table if exists written", "create table written (n int)");
      for (String mode : new String[] {"transaction", "always"}) {
        try (Connection connection = Checks.connect("readOnlyMode", mode)) {
          connection.setReadOnly(true);
          connection.setAutoCommit(mode.equals("always"));
          for (int turn = 0; turn < TURNS; turn++) {
            Checks.fails("25006", () -> Checks.execute(connection, "insert into written values (1)"));
            Checks.execute(writer, "insert into written values (1)");
            if (mode.equals("transaction")) connection.rollback();
          }
          connection.setReadOnly(false);
          for (int turn = 0; turn < TURNS; turn++) {
            Checks.execute(connection, "insert into written values (2)");
            if (mode.equals("transaction")) connection.commit();
          }
        }
      }
      Checks.equal(String.valueOf(4 * TURNS), Checks.value(writer, "select count(*) from written"));
    }
  }

  public static void setAndReset() throws Exception {
    try (Connection connection = Checks.connect("options", "-c work_mem=6MB")) {
      for (String reset : new String[] {"reset work_mem", "reset all", "set work_mem to default", "discard all"}) {
        Checks.execute(connection, "set work_mem = '9MB'");
        for (int turn = 0; turn < TURNS; turn++) Checks.equal("9MB", Checks.value(connection, "show work_mem"));
        Checks.execute(connection, reset);
        for (int turn = 0; turn < TURNS; turn++) Checks.equal("6MB", Checks.value(connection, "show work_mem"));
      }
    }
  }

  public static void temporaryTables() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "create temp table scratch (n int)");
      for (int turn = 1; turn <= TURNS; turn++) {
        Checks.execute(connection, "insert into scratch values (1)");
        Checks.equal(String.valueOf(turn), Checks.value(connection, "select count(*) from scratch"));
      }
      Checks.execute(connection, "drop table scratch");
      Checks.fails("42P01", () -> Checks.value(connection, "select * from scratch"));
    }
  }

  public static void notifications() throws Exception {
    try (Connection listener = Checks.connect(); Connection notifier = Checks.connect()) {
      Checks.execute(listener, "listen jdbc_news");
      for (int turn = 0; turn < TURNS; turn++) {
        Checks.value(notifier, "select pg_notify('jdbc_news', ?)", "turn " + turn);
        Checks.execute(notifier, "notify jdbc_other, 'not heard'");
        PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications(30_000);
        Checks.check(heard != null && heard.length == 1, "one notification");
        Checks.equal("jdbc_news turn " + turn, heard[0].getName() + " " + heard[0].getParameter());
      }
      Checks.execute(listener, "unlisten *");
      Checks.execute(notifier, "notify jdbc_news, 'unheard'");
      for (int turn = 0; turn < TURNS; turn++) Checks.value(listener, "select 1");
      PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications();
      Checks.check(heard == null || heard.length == 0, "nothing heard after unlisten");
    }
  }

  public static void cancel() throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor();
    try (Connection connection = Checks.connect(); Statement statement = connection.createStatement()) {
      for (int turn = 0; turn < 3; turn++) {
        String mark = "cancelled in turn " + turn;
        Future<?> cancelling = other.submit(() -> {
          Checks.waitUntilRuns(mark);
          statement.cancel();
          return null;
        });
        Checks.fails("57014", () -> statement.execute("select pg_sleep(60) /* " + mark + " */"));
        cancelling.get();
        for (int again = 0; again < TURNS; again++) Checks.equal("1", Checks.value(connection, "select 1"));
      }
    } finally {
      other.shutdownNow();
    }
  }

  public static void queryTimeout() throws Exception {
    try (Connection connection = Checks.connect(); Statement statement = connection.createStatement()) {
      statement.setQueryTimeout(1);
      Checks.fails("57014", () -> statement.execute("select pg_sleep(60)"));
      statement.setQueryTimeout(0);
      for (int turn = 0; turn < TURNS; turn++) Checks.equal("1", Checks.value(connection, "select 1"));
    }
  }

  public static void networkTimeout() throws Exception {
    try (Connection observer = Checks.connect()) {
      Connection connection = Checks.connect();
      connection.setNetworkTimeout(Runnable::run, 700);
      Checks.fails("08006", () -> Checks.execute(connection, "select pg_sleep(2) /* network */"));
      Checks.check(connection.isClosed(), "closed");
      for (int turn = 0; turn < TURNS; turn++) Checks.equal("1", Checks.value(observer, "select 1"));
    }
  }

  public static void validity() throws Exception {
    try (Connection connection = Checks.connect()) {
      for (int turn = 0; turn < TURNS; turn++) Checks.check(connection.isValid(20), "valid");
      connection.setAutoCommit(false);
      Checks.fails("42P01", () -> Checks.execute(connection, "select * from no_such_table"));
      connection.rollback();
      Checks.check(connection.isValid(20), "valid after an error");
    }
  }

  public static void twoPhaseCommit() throws Exception {
    try (Connection reader = Checks.connect()) {
      Checks.execute(reader, "drop table if exists phased", "create table phased (n int)");
      for (int turn = 1; turn <= 4; turn++) {
        commitInTwoPhases(Checks.connect(), Checks.connect(), turn);
        Checks.equal(String.valueOf(turn), Checks.value(reader, "select count(*) from phased"));
      }
      Checks.equal("0", Checks.value(reader, "select count(*) from pg_prepared_xacts"));
    }
  }

  /** PREPARE TRANSACTION on one connection, COMMIT PREPARED on another: it is the server's, not the session's. */
  private static void commitInTwoPhases(Connection preparing, Connection committing, int number) throws SQLException {
    try (preparing; committing) {
      preparing.setAutoCommit(false);
      Checks.execute(preparing, "insert into phased values (" + number + ")", "prepare transaction 'jdbc " + number + "'");
      preparing.setAutoCommit(true);
      Checks.execute(committing, "commit prepared 'jdbc " + number + "'");
    }
  }
}
