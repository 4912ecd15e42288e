import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Properties;

/**
 * What applications do through JDBC, against 127.0.0.1: Checks PASSWORD PORT.
 * Prints "ok NAME" or "FAILED NAME: why" for every check; exit status 1 if any failed.
 */
final class Checks {
  interface Work {
    void run() throws Exception;
  }

  private static String password;
  private static String port;

  public static void main(String[] arguments) {
    password = arguments[0];
    port = arguments[1];
    boolean failed = false;
    for (Class<?> group : List.of(Statements.class, Sessions.class, Data.class)) {
      Method[] checks = group.getDeclaredMethods();
      Arrays.sort(checks, Comparator.comparing(Method::getName));
      for (Method check : checks) {
        if (java.lang.reflect.Modifier.isPublic(check.getModifiers())) failed |= !run(check);
      }
    }
    System.exit(failed ? 1 : 0);
  }

  private static boolean run(Method check) {
    try {
      check.invoke(null);
      System.out.println("ok " + check.getName());
      return true;
    } catch (InvocationTargetException wrapped) {
      Throwable why = wrapped.getCause();
      System.out.println("FAILED " + check.getName() + ": " + String.valueOf(why).replace("\n", "\n  "));
      for (StackTraceElement frame : why.getStackTrace()) {
        if (frame.getClassName().matches("Checks|Statements|Sessions|Data")) System.out.println("  at " + frame);
      }
    } catch (IllegalAccessException impossible) {
      throw new AssertionError(impossible);
    }
    return false;
  }

  /** A connection with these driver properties, given as name, value, name, value... */
  static Connection connect(String... properties) throws SQLException {
    Properties all = new Properties();
    all.setProperty("user", "app");
    all.setProperty("password", password);
    all.setProperty("sslmode", "disable");
    all.setProperty("socketTimeout", "30"); // seconds; a lost answer fails its check
    for (int index = 0; index < properties.length; index += 2)
      all.setProperty(properties[index], properties[index + 1]);
    return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + port + "/test", all);
  }

  static void execute(Connection connection, String... statements) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      for (String sql : statements) statement.execute(sql);
    }
  }

  /** The first column of the first row as text. */
  static String value(Connection connection, String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      return value(statement, parameters);
    }
  }

  static String value(PreparedStatement statement, Object... parameters) throws SQLException {
    for (int index = 0; index < parameters.length; index++) statement.setObject(index + 1, parameters[index]);
    try (ResultSet rows = statement.executeQuery()) {
      check(rows.next(), "a row");
      return rows.getString(1);
    }
  }

  static void check(boolean condition, String what) {
    if (!condition) throw new AssertionError("not so: " + what);
  }

  static void equal(Object expected, Object actual) {
    if (!Objects.equals(expected, actual)) throw new AssertionError(actual + " instead of " + expected);
  }

  /** The work fails with this SQLSTATE. */
  static SQLException fails(String sqlstate, Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      if (!sqlstate.equals(error.getSQLState())) throw error;
      return error;
    }
    throw new AssertionError("no error " + sqlstate);
  }

  /** Waits until the server runs the statement with this text. */
  static void waitUntilRuns(String text) throws SQLException {
    try (Connection observer = connect()) {
      String sql = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like ?";
      while (!value(observer, sql, "%" + text + "%").equals("1")) Thread.onSpinWait();
    }
  }
}
